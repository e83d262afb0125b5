package pipeline_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A promise is as good as the test that PROMISES.md names for it.
func TestPromisesNameTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("PROMISES.md")
	require.NoError(t, err)
	tests := map[string]bool{}
	define := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "data" || (strings.HasPrefix(d.Name(), ".") && d.Name() != "..")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, m := range define.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
		return err
	}))
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if len(cells) != 5 || strings.Contains(line, "---") || strings.TrimSpace(cells[1]) == "promise" {
			continue
		}
		rows++
		named := regexp.MustCompile("`(?:Test|Fuzz)\\w+`|make chaos").FindAllString(cells[3], -1)
		require.NotEmpty(t, named, "no test is named: %s", cells[1])
		for _, name := range named {
			require.True(t, name == "make chaos" || tests[strings.Trim(name, "`")], "%s is no test: %s", name, cells[1])
		}
	}
	require.Greater(t, rows, 50)
}

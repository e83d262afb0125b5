package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/config"
)

// Every link of the documents leads somewhere, and every command line in them is one that the
// program, the Makefile or a tool of development has.
func TestDocumentsAreTrue(t *testing.T) {
	files := os.DirFS("../..")
	documents := documentsIn(t, files)
	require.Subset(t, documents, []string{
		"README.md", "cmd/bench/README.md", "deploy/README.md", "drift/README.md", "pipeline/DESIGN.md", "pipeline/PROMISES.md", "pipeline/README.md", "schemas/README.md",
	})
	c := newChecker(t, files)
	for _, name := range documents {
		c.document(name)
	}
	require.Empty(t, c.faults, "%s", strings.Join(c.faults, "\n"))
	require.Greater(t, c.links, 100)
	require.Greater(t, c.commands, 60)
}

// documentsIn lists the Markdown files, but those that were installed or are data.
func documentsIn(t *testing.T, files fs.FS) (names []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && name != "."
		made := slices.Contains([]string{"bin", "data", "models", "reports", "deploy/kafka/lib", "deploy/registry"}, name)
		if d.IsDir() && (hidden || made || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".md") {
			names = append(names, name)
		}
		return nil
	}))
	return names
}

// What is wrong in a document is found.
func TestDocumentsThatAreWrong(t *testing.T) {
	const other = "# Other\n\n## One `thing`, and others\n\n## Twice\n\n## Twice\n"
	for text, fault := range map[string]string{
		"[a](docs/other.md)":                      "",
		"[a](docs/other.md#one-thing-and-others)": "",
		"[a](docs/other.md#twice-1)":              "",
		"[a\nb](docs)":                            "",
		"[a](https://example.org/none)":           "",
		"# Here\n[a](#here)":                      "",
		"`[a](none.md)`":                          "",
		"```\n[a](none.md)\n```":                  "",
		"[a](docs/none.md)":                       "docs/none.md is not there",
		"![a](none.svg)":                          "none.svg is not there",
		`<img src="none.svg">`:                    "none.svg is not there",
		"[a\nb](docs/none.md)":                    "docs/none.md is not there",
		"[a](../README.md)":                       "../README.md is not there",
		"[a](docs/other.md#two)":                  "docs/other.md has no heading #two",
		"[a](docs/other.md#twice-2)":              "docs/other.md has no heading #twice-2",
		"[a](#there)":                             "README.md has no heading #there",
		"```sh\n./bin/millrace run --roles worker &   # now\n```":     "",
		"```sh\n./bin/millrace predict m '{\"a\": 1}'\n```":           "",
		"`millrace deadletters list|show|replay`":                     "",
		"| `millrace offsets show\\|set --group G --to TIME` |":       "",
		"`millrace drift compare -o a.html --test num=ks,cat=psi`":    "",
		"`millrace init MODEL.onnx`, `--set\nkafka.brokers=…`":        "",
		"`make bench ARGS=\"--quick --kafka real\"`, `--incidents N`": "",
		"`make microbench PKG=./schemas/codec BENCH=Decode$`":         "",
		"```sh\n./bin/millrace fly\n```":                              "millrace has no command fly",
		"`millrace topics aply`":                                      "millrace topics has no command aply",
		"`millrace deadletters list|shoe`":                            "millrace deadletters has no command shoe",
		"`millrace run --speed 3`":                                    "millrace run has no flag --speed",
		"```sh\nmillrace drift compare \\\n  --tset ks\n```":          "millrace drift compare has no flag --tset",
		"`millrace drift compare -x a.html`":                          "millrace drift compare has no flag -x",
		"`millrace run now`":                                          "millrace run takes no such arguments",
		"`--speed`":                                                   "no command has a flag --speed",
		"`--set worker.lane=4`":                                       "worker.lane=4",
		"`millrace run --set worker.lane=4`":                          "worker.lane=4",
		"```sh\nmake tset\n```":                                       "make has no target tset",
		"`make bench AGRS=\"--quick\"`":                               "make bench takes no AGRS",
		"`make test ARGS=\"--quick\"`":                                "make test takes no ARGS",
		"`make bench ARGS=\"--quik\"`":                                "make bench has no flag --quik",
		"`make chaos ARGS=\"--faults 3 --kill\"`":                     "make chaos has no flag --kill",
		"`make demo ARGS=\"--twice\"`":                                "millrace demo has no flag --twice",
		"`make bench-compare ARGS=\"--slow\"`":                        "make bench-compare has no flag --slow",
	} {
		c := newChecker(t, os.DirFS("../.."))
		c.files = fstest.MapFS{"README.md": {Data: []byte(text)}, "docs/other.md": {Data: []byte(other)}}
		c.document("README.md")
		if fault == "" {
			require.Empty(t, c.faults, text)
			continue
		}
		require.Len(t, c.faults, 1, text)
		require.Contains(t, c.faults[0], fault, text)
	}
}

// checker looks for what is wrong in documents.
type checker struct {
	files   fs.FS
	root    *cobra.Command
	targets map[string]string          // of the Makefile: their lines
	tools   map[string]map[string]bool // targets that run a tool: its flags

	links, commands int // that were checked
	faults          []string
}

func newChecker(t *testing.T, files fs.FS) *checker {
	t.Helper()
	c := &checker{files: files, root: rootCommand(), targets: map[string]string{}, tools: map[string]map[string]bool{}}
	text, err := fs.ReadFile(files, "Makefile")
	require.NoError(t, err)
	last := ""
	for line := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^([a-z][a-z0-9-]*):[^=]`).FindStringSubmatch(line); m != nil {
			last = m[1]
		} else if !strings.HasPrefix(line, "\t") {
			last = ""
		}
		if last != "" {
			c.targets[last] += line
		}
	}
	require.Contains(t, c.targets, "test")
	for _, tool := range []string{"bench", "chaos"} {
		c.tools[tool] = flagsOf(t, "../"+tool+"/main.go")
		require.Greater(t, len(c.tools[tool]), 4, tool)
	}
	script, err := fs.ReadFile(files, "drift/internal/golden/reference/side_by_side.py")
	require.NoError(t, err)
	c.tools["bench-compare"] = map[string]bool{}
	for _, m := range regexp.MustCompile(`"--([a-z-]+)" in sys\.argv`).FindAllSubmatch(script, -1) {
		c.tools["bench-compare"][string(m[1])] = true
	}
	return c
}

// flagsOf returns the names that a main.go gives to its flag set called flags.
func flagsOf(t *testing.T, file string) map[string]bool {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	names := map[string]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selected, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if of, ok := selected.X.(*ast.Ident); !ok || of.Name != "flags" {
			return true
		}
		for _, a := range call.Args { // the first text is the name
			if text, ok := a.(*ast.BasicLit); ok && text.Kind == token.STRING {
				name, err := strconv.Unquote(text.Value)
				require.NoError(t, err)
				names[name] = true
				break
			}
		}
		return true
	})
	return names
}

func (c *checker) wrong(name, what string) { c.faults = append(c.faults, name+": "+what) }

var (
	fence   = regexp.MustCompile("(?ms)^[ \t]*```([a-z]*)\n(.*?)^[ \t]*```[ \t]*$")
	code    = regexp.MustCompile("`[^`]+`")
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?)[ \t]*$`)
	inLink  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// document checks one.
func (c *checker) document(name string) {
	text, err := fs.ReadFile(c.files, name)
	if err != nil {
		c.wrong(name, err.Error())
		return
	}
	for _, f := range fence.FindAllStringSubmatch(string(text), -1) {
		if f[1] == "sh" {
			for line := range strings.Lines(strings.ReplaceAll(f[2], "\\\n", " ")) {
				c.line(name, line)
			}
		}
	}
	prose := fence.ReplaceAllString(string(text), "")
	for _, span := range code.FindAllString(prose, -1) {
		span = strings.ReplaceAll(strings.Trim(span, "`"), `\|`, "|")
		if strings.HasPrefix(span, "--") {
			c.anyFlag(name, span)
		} else {
			c.line(name, span)
		}
	}
	for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(prose, ""), -1) {
		c.link(name, m[1]+m[2])
	}
}

// link checks where a link leads to, unless it is out of the repository.
func (c *checker) link(name, target string) {
	if regexp.MustCompile(`^[a-z]+:`).MatchString(target) {
		return
	}
	c.links++
	file, anchor, anchored := strings.Cut(target, "#")
	at := name
	if file != "" {
		at = path.Join(path.Dir(name), file)
	}
	if _, err := fs.Stat(c.files, at); err != nil { // also of what is no path in it
		c.wrong(name, at+" is not there")
		return
	}
	if !anchored {
		return
	}
	text, err := fs.ReadFile(c.files, at)
	if err != nil || !slices.Contains(anchors(string(text)), anchor) {
		c.wrong(name, at+" has no heading #"+anchor)
	}
}

// anchors returns what GitHub calls the headings of a document.
func anchors(text string) (names []string) {
	seen := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, inLink.ReplaceAllString(m[1], "$1"))
		n := seen[name]
		if seen[name]++; n > 0 {
			name += "-" + strconv.Itoa(n)
		}
		names = append(names, name)
	}
	return names
}

// line checks the commands of a line of a shell that are ours.
func (c *checker) line(name, text string) {
	words := shellWords(text)
	for len(words) > 0 {
		end := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"&&", "|", "&", ";"}, w) })
		if end < 0 {
			end = len(words)
		}
		if command := words[:end]; len(command) > 1 {
			switch command[0] {
			case "make":
				c.make(name, command[1:])
			case "millrace", "./bin/millrace", "bin/millrace":
				c.millrace(name, command[1:])
			}
		}
		words = words[min(end+1, len(words)):]
	}
}

// shellWords splits a line as a shell does, and leaves out a comment.
func shellWords(line string) (words []string) {
	var word strings.Builder
	var quote rune
	begun := false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case unicode.IsSpace(r):
			end()
		case r == '#' && !begun:
			return words
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return words
}

// make checks targets and variables.
func (c *checker) make(name string, words []string) {
	c.commands++
	target := ""
	for _, w := range words {
		variable, value, isVariable := strings.Cut(w, "=")
		switch {
		case strings.HasPrefix(w, "-"):
		case !isVariable:
			if target = w; c.targets[target] == "" {
				c.wrong(name, "make has no target "+target)
				return
			}
		case !strings.Contains(c.targets[target], "$("+variable+")"):
			c.wrong(name, "make "+target+" takes no "+variable)
		case variable != "ARGS":
		case c.tools[target] != nil:
			for flag := range strings.FieldsSeq(value) {
				if flag, ok := strings.CutPrefix(flag, "--"); ok && !c.tools[target][flag] {
					c.wrong(name, "make "+target+" has no flag --"+flag)
				}
			}
		default:
			c.millrace(name, append([]string{target}, strings.Fields(value)...))
		}
	}
}

// millrace checks a command line, in which alternatives may be given as a|b, and what can be
// left out in brackets.
func (c *checker) millrace(name string, words []string) {
	c.commands++
	at := []*cobra.Command{c.root}
	var rest []string
	for i := 0; i < len(words); i++ {
		w := strings.Trim(words[i], "[]")
		if strings.HasPrefix(w, "-") {
			flag, value, given := strings.Cut(w, "=")
			long, valued, ok := flagOf(at, flag)
			if !ok {
				c.wrong(name, at[0].CommandPath()+" has no flag "+flag)
				return
			}
			if !given && valued && i+1 < len(words) {
				i++
				value = words[i]
			}
			if long == "set" {
				c.setting(name, value)
			}
			continue
		}
		if !at[0].HasSubCommands() {
			rest = append(rest, w)
			continue
		}
		var next []*cobra.Command
		for part := range strings.SplitSeq(w, "|") {
			k := slices.IndexFunc(at[0].Commands(), func(sub *cobra.Command) bool { return sub.Name() == part })
			if k < 0 {
				c.wrong(name, at[0].CommandPath()+" has no command "+part)
				return
			}
			next = append(next, at[0].Commands()[k])
		}
		at = next
	}
	if len(rest) > 0 && at[0].Args != nil && at[0].Args(at[0], rest) != nil {
		c.wrong(name, at[0].CommandPath()+" takes no such arguments: "+strings.Join(rest, " "))
	}
}

// flagOf tells whether one of the commands has a flag, its long name, and whether it needs a value.
func flagOf(at []*cobra.Command, text string) (name string, valued, ok bool) {
	for _, cmd := range at {
		cmd.InitDefaultHelpFlag()
		bare, long := strings.CutPrefix(text, "--")
		f := cmd.Flag(bare)
		if !long {
			short := strings.TrimPrefix(text, "-")
			if f = cmd.Flags().ShorthandLookup(short); f == nil {
				f = cmd.InheritedFlags().ShorthandLookup(short)
			}
		}
		if f != nil {
			return f.Name, f.NoOptDefVal == "", true
		}
	}
	return "", false, false
}

// anyFlag checks flags that stand alone: a command or a tool must have each.
func (c *checker) anyFlag(name, text string) {
	c.commands++
	commands := append(c.root.Commands(), c.root)
	for _, group := range c.root.Commands() {
		commands = append(commands, group.Commands()...)
	}
	words := shellWords(text)
	for i, w := range words {
		flag, value, _ := strings.Cut(w, "=")
		bare, isFlag := strings.CutPrefix(flag, "--")
		if !isFlag {
			continue
		}
		tool := slices.ContainsFunc(slices.Collect(maps.Values(c.tools)), func(has map[string]bool) bool { return has[bare] })
		if long, _, ok := flagOf(commands, flag); !ok && !tool {
			c.wrong(name, "no command has a flag "+flag)
		} else if long == "set" {
			if value == "" && i+1 < len(words) {
				value = words[i+1]
			}
			c.setting(name, value)
		}
	}
}

// setting checks that there is a key of the configuration; its value may be a placeholder.
func (c *checker) setting(name, text string) {
	if _, err := config.Load("", nil, []string{text}); err != nil && strings.Contains(err.Error(), "unknown key") {
		c.wrong(name, "--set "+text+": "+err.Error())
	}
}

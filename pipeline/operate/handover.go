package operate

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// handOver returns the steps by which a version's folder takes over the manifest of another, with the
// files that it names new: before each of them, and after, the folder is the version as it was or as it
// becomes. The new files have names of their own (fileName), the manifest comes behind them, and
// what it no longer names goes last.
func handOver(to, from string, was, is *schemas.Manifest) []func() error {
	var steps []func() error
	write := func(file string) {
		steps = append(steps, func() error {
			contents, err := os.ReadFile(filepath.Join(from, file)) //nolint:gosec // of our own folder
			if err == nil {
				err = replaceFile(filepath.Join(to, file), contents)
			}
			return err
		})
	}
	write(is.Reference.File)
	write(is.Sample.File)
	write(schemas.ManifestFile)
	named := filesOf(is)
	for _, old := range []*schemas.Artifact{was.Reference, was.Sample} {
		if old != nil && !slices.Contains(named, old.File) {
			steps = append(steps, func() error { return os.Remove(filepath.Join(to, old.File)) })
		}
	}
	return steps
}

// filesOf returns the files that a manifest names.
func filesOf(m *schemas.Manifest) []string {
	var files []string
	for _, a := range []*schemas.Artifact{&m.Artifact, m.Reference, m.Sample} {
		if a == nil {
			continue
		}
		files = append(files, a.File)
		for _, e := range a.External {
			files = append(files, e.File)
		}
	}
	return files
}

// fileName names a new file of a version that has had a manifest: plainly, unless that manifest names
// such a file, which is never written over; then by its contents.
func fileName(was *schemas.Manifest, stem, extension string, contents []byte) string {
	if !slices.Contains(filesOf(was), stem+extension) {
		return stem + extension
	}
	sum := sha256.Sum256(contents)
	return fmt.Sprintf("%s-%x%s", stem, sum[:8], extension)
}

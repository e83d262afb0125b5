//go:build unix

package inference_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
)

// A pipe that nobody writes to would have whoever opens it wait for ever.
func TestFilesOfAVersionAreFiles(t *testing.T) {
	for _, file := range []string{"manifest.yaml", "model.onnx", "reference.json", "sample.arrow"} {
		t.Run(file, func(t *testing.T) {
			root := t.TempDir()
			writeVersion(t, root, "m", "1", map[string]string{
				"manifest.yaml": manifest("m", "1", "reference: {file: reference.json, sha256: "+digest("{}")+"}\nsample: {file: sample.arrow, sha256: "+digest("")+"}\n"),
				"model.onnx":    artifact, "reference.json": "{}", "sample.arrow": "",
			})
			path := filepath.Join(root, "m", "1", file)
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
			_, err := open(t, root).Load(t.Context(), "m", "1")
			require.ErrorContains(t, err, file+" is no regular file")
		})
	}
	_, err := inference.Digest("/dev/zero")
	require.ErrorContains(t, err, "/dev/zero is no regular file")
}

package onnx_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference/onnx"
)

func TestFindLibrary(t *testing.T) {
	t.Run("variable", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "libonnxruntime.so")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		t.Setenv(onnx.LibraryVariable, path)
		got, err := onnx.FindLibrary()
		require.NoError(t, err)
		require.Equal(t, path, got)
	})
	t.Run("variable of nothing", func(t *testing.T) {
		t.Setenv(onnx.LibraryVariable, "nowhere.so")
		_, err := onnx.FindLibrary()
		require.ErrorContains(t, err, "MILLRACE_ONNXRUNTIME names nowhere.so, which is not a file")
	})
	t.Run("upward to go.mod", func(t *testing.T) {
		t.Setenv(onnx.LibraryVariable, "")
		top, err := filepath.EvalSymlinks(t.TempDir())
		require.NoError(t, err)
		folder := filepath.Join(top, "deploy", "native", "node_modules", "onnxruntime-node", "bin", "napi-v6", "linux", "x64")
		require.NoError(t, os.MkdirAll(folder, 0o755))
		deep := filepath.Join(top, "a", "b")
		require.NoError(t, os.MkdirAll(deep, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(top, "go.mod"), nil, 0o600))
		t.Chdir(deep)
		_, err = onnx.FindLibrary()
		require.ErrorContains(t, err, "run `make native`")
		library := filepath.Join(folder, "libonnxruntime.so.1")
		require.NoError(t, os.WriteFile(library, nil, 0o600))
		got, err := onnx.FindLibrary()
		require.NoError(t, err)
		require.Equal(t, library, got)
	})
	t.Run("nowhere", func(t *testing.T) {
		t.Setenv(onnx.LibraryVariable, "")
		t.Chdir(t.TempDir())
		_, err := onnx.FindLibrary()
		require.ErrorContains(t, err, "MILLRACE_ONNXRUNTIME")
	})
}

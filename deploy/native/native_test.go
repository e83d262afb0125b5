//go:build linux

package native_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/deploy/native"
)

var library = native.Library{Name: "the test's library", File: "libchdb.so", Variable: "MILLRACE_TEST_LIBRARY"}

// install writes a library of some bytes into a folder of its own, which nobody else can write.
func install(t *testing.T) (path, digest string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "own")
	require.NoError(t, os.Mkdir(dir, 0o700))
	path = filepath.Join(dir, "lib.so")
	require.NoError(t, os.WriteFile(path, []byte(t.Name()), 0o600))
	sum := sha256.Sum256([]byte(t.Name()))
	return path, hex.EncodeToString(sum[:])
}

func TestInstalledLibrariesAreThePinnedOnes(t *testing.T) {
	t.Setenv(native.DirVariable, ".")
	for _, l := range []native.Library{native.ClickHouse, native.ONNXRuntime} {
		path, err := l.Find()
		require.NoError(t, err)
		require.Equal(t, l.File, filepath.Base(path))
	}
}

// Whoever changes a version is to change its digest: `make native-digests`.
func TestDigestsBelongToTheLockedVersions(t *testing.T) {
	var lock struct {
		Packages map[string]struct {
			Version string `json:"version"`
		} `json:"packages"`
	}
	text, err := os.ReadFile("package-lock.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &lock))
	sums, err := os.ReadFile("SHA256SUMS")
	require.NoError(t, err)
	for _, of := range []string{"node_modules/@chdb/lib-linux-x64-gnu", "node_modules/onnxruntime-node"} {
		require.Contains(t, string(sums), "# "+of+" "+lock.Packages[of].Version+"\n")
	}
}

func TestLibraryOfTheWorkingDirectoryIsNotLoaded(t *testing.T) {
	top := t.TempDir()
	for _, l := range []native.Library{native.ClickHouse, native.ONNXRuntime} {
		for _, below := range []string{"", "lib", "deploy/native/node_modules/@chdb/lib-linux-x64-gnu", "deploy/native/node_modules/onnxruntime-node/bin/napi-v6/linux/x64"} {
			require.NoError(t, os.MkdirAll(filepath.Join(top, below), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(top, below, l.File), nil, 0o600))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(top, "go.mod"), nil, 0o600))
	deep := filepath.Join(top, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o700))
	for _, dir := range []string{top, deep} {
		t.Chdir(dir)
		for _, l := range []native.Library{native.ClickHouse, native.ONNXRuntime} {
			_, err := l.Find()
			require.ErrorContains(t, err, "was not found beside the executable: run `make native build` and use bin/millrace, or set MILLRACE_NATIVE_DIR")
		}
	}
}

func TestLibraryWithAnotherDigestIsNotLoaded(t *testing.T) {
	path, digest := install(t)
	t.Setenv(library.Variable, path)
	_, err := library.Find()
	require.ErrorContains(t, err, "the SHA-256 of "+path+" is "+digest+", and not ")
	require.ErrorContains(t, err, "or set MILLRACE_TEST_LIBRARY_SHA256="+digest+" if you trust this one")

	t.Setenv(library.Variable+"_SHA256", strings.ToUpper(digest))
	got, err := library.Find()
	require.NoError(t, err)
	require.Equal(t, path, got)

	// It is noticed that the file has changed since it was read.
	state := native.State(path)
	require.NoError(t, library.Recheck(path, state))
	require.NoError(t, os.WriteFile(path, []byte("another"), 0o600))
	require.ErrorContains(t, library.Recheck(path, state), "is not loaded: the SHA-256")
	_, err = library.Find()
	require.ErrorContains(t, err, "is not loaded: the SHA-256")

	t.Setenv(library.Variable, path+".missing")
	_, err = library.Find()
	require.EqualError(t, err, "MILLRACE_TEST_LIBRARY is "+path+".missing, where there is no file: set it to the path of libchdb.so, or unset it")
}

func TestLibraryThatOthersCouldChangeIsNotLoaded(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"file for all":     {func(path string) error { return os.Chmod(path, 0o606) }, "lib.so can be written by everybody (mode 0606): run `chmod o-w "},
		"folder for all":   {func(path string) error { return os.Chmod(filepath.Dir(path), 0o707) }, "own can be written by everybody (mode 0707)"},
		"above":            {func(path string) error { return os.Chmod(filepath.Dir(filepath.Dir(path)), 0o777) }, "can be written by everybody (mode 0777)"},
		"another's file":   {func(path string) error { return os.Chown(path, 12345, -1) }, "lib.so belongs to user 12345"},
		"another's folder": {func(path string) error { return os.Chown(filepath.Dir(path), 12345, -1) }, "own belongs to user 12345"},
		"a group": {func(path string) error {
			if err := os.Chown(path, -1, 12345); err != nil {
				return err
			}
			return os.Chmod(path, 0o660)
		}, "lib.so can be written by group 12345 (mode 0660): run `chmod g-w "},
	} {
		t.Run(name, func(t *testing.T) {
			path, digest := install(t)
			t.Setenv(library.Variable, path)
			t.Setenv(library.Variable+"_SHA256", digest)
			_, err := library.Find()
			require.NoError(t, err)
			if err := tc.change(path); os.IsPermission(err) {
				t.Skip("only root gives files away")
			} else {
				require.NoError(t, err)
			}
			_, err = library.Find()
			require.ErrorContains(t, err, "the test's library is not loaded: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

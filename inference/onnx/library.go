package onnx

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// LibraryVariable is the environment variable that names the ONNX Runtime library.
const LibraryVariable = "MILLRACE_ONNXRUNTIME"

const (
	libraryFile = "libonnxruntime.so.1"
	// nativeLibrary is where `make native` puts the library, from the top of the project.
	nativeLibrary = "deploy/native/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/" + libraryFile
)

// FindLibrary returns the path of the ONNX Runtime library: the one that
// MILLRACE_ONNXRUNTIME names, else the first found beside the executable, in ../lib or in
// the project that the executable or the working directory lies in.
func FindLibrary() (string, error) {
	if path := os.Getenv(LibraryVariable); path != "" {
		if !isFile(path) {
			return "", fmt.Errorf("%s names %s, which is not a file; set it to the path of %s", LibraryVariable, path, libraryFile)
		}
		return path, nil
	}
	for _, path := range libraryCandidates() {
		if isFile(path) {
			return path, nil
		}
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("ONNX Runtime comes with millrace for linux/amd64 only, and this is %s/%s: set %s to the path of its library",
			runtime.GOOS, runtime.GOARCH, LibraryVariable)
	}
	return "", fmt.Errorf("ONNX Runtime (%s) was not found: run `make native`, or set %s to its path", libraryFile, LibraryVariable)
}

func libraryCandidates() []string {
	var paths []string
	if exe, err := os.Executable(); err == nil {
		if target, err := filepath.EvalSymlinks(exe); err == nil {
			exe = target
		}
		dir := filepath.Dir(exe)
		paths = append(paths,
			filepath.Join(dir, libraryFile),
			filepath.Join(dir, "..", "lib", libraryFile),
			filepath.Join(dir, nativeLibrary),
			filepath.Join(dir, "..", nativeLibrary))
	}
	dir, err := os.Getwd()
	for err == nil {
		if isFile(filepath.Join(dir, "go.mod")) {
			return append(paths, filepath.Join(dir, nativeLibrary))
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return paths
}

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // where the library lies is the operator's choice
	return err == nil && info.Mode().IsRegular()
}

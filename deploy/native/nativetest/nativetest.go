// Package nativetest lets test executables, which lie in a folder of the go command's, find the
// native libraries in the checkout that they were built from. Tests import it for that alone.
package nativetest

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/millrace/millrace/deploy/native"
)

// Where the variable is set already, as for children of a test, it stays.
func init() {
	if _, file, _, ok := runtime.Caller(0); ok && os.Getenv(native.DirVariable) == "" {
		_ = os.Setenv(native.DirVariable, filepath.Dir(filepath.Dir(file))) // if not, the library is not found, and the error says so
	}
}

package schemas

import (
	"fmt"
	"os"
)

// OpenFile opens a file of a model's version to be read. What is no file is an error: a pipe
// would have its reader wait for ever, and a device need not end.
func OpenFile(path string) (*os.File, error) {
	info, err := os.Stat(path) // first: a pipe that nobody writes to would not even open
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (mode %s)", path, info.Mode())
	}
	return os.Open(path) //nolint:gosec // the model repository is the operator's choice
}

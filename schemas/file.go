package schemas

import (
	"fmt"
	"os"
)

// OpenRegular opens a file that has an end and is there as a whole, as those of a model version
// are. Opening a pipe waits until somebody writes into it, and nothing could end that.
func OpenRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (mode %s)", path, info.Mode())
	}
	return os.Open(path) //nolint:gosec // the path is the operator's choice
}

//go:build linux && amd64

package embedded

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxSpooledMemory is how much of an insert's rows waits in memory. The pipeline's own inserts
// are smaller.
const maxSpooledMemory = 64 << 20

// spool holds the rows of an insert until they are complete: in memory, and from a size on in a
// file of the data directory that has no name. The engine opens it by path.
type spool struct {
	file  *os.File
	dir   string
	size  int64
	limit int64 // of what may be in memory; 0 when it is on disk
}

func newSpool(dir string) (*spool, error) {
	fd, err := unix.MemfdCreate("insert", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a file in memory for the rows: %w", err)
	}
	return &spool{file: os.NewFile(uintptr(fd), "insert"), dir: dir, limit: maxSpooledMemory}, nil
}

// Write implements io.Writer.
func (s *spool) Write(rows []byte) (int, error) {
	if s.limit > 0 && s.size+int64(len(rows)) > s.limit {
		if err := s.toDisk(); err != nil {
			return 0, fmt.Errorf("move %d bytes of rows to disk: %w", s.size, err)
		}
	}
	n, err := s.file.Write(rows)
	s.size += int64(n)
	return n, err
}

// toDisk puts a file behind the descriptor that was one in memory, so that its path stays.
func (s *spool) toDisk() error {
	file, err := os.CreateTemp(s.dir, "insert-*.rows")
	if err != nil {
		return err
	}
	defer file.Close()                             // which leaves the other descriptor of it
	if err := os.Remove(file.Name()); err != nil { //nolint:gosec // a name that was made just now
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(file, s.file); err != nil {
		return err
	}
	s.limit = 0
	return unix.Dup3(int(file.Fd()), int(s.file.Fd()), unix.O_CLOEXEC)
}

// path is where the engine finds the rows when all are written.
func (s *spool) path() string { return "/proc/self/fd/" + strconv.Itoa(int(s.file.Fd())) }

// Close frees the rows, which the engine must have read.
func (s *spool) Close() error { return s.file.Close() }

package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// What a file may have: a password is short, and a bundle of all public authorities has 200 KiB.
const (
	maxSecretBytes = 64 << 10
	maxPEMBytes    = 4 << 20
)

// readFile reads the file that a key names. The error begins with the key and names the file.
func readFile(key, path string, most int64) ([]byte, error) {
	if strings.Contains(path, "-----BEGIN") || strings.ContainsAny(path, "\r\n") { // not shown: it may be a key
		return nil, fmt.Errorf("%s: it names a file, and holds the text of one: write that into a file, and its path here", key)
	}
	info, err := os.Stat(path) // first: a pipe that nobody writes to would not even open
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	case info.IsDir():
		return nil, fmt.Errorf("%s: %s is a directory; name the file in it", key, path)
	case !info.Mode().IsRegular(): // a pipe can be read only once
		return nil, fmt.Errorf("%s: %s is no regular file; it must be there to be read again", key, path)
	}
	f, err := os.Open(path) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	case int64(len(text)) > most:
		return nil, fmt.Errorf("%s: %s has more than %d KiB", key, path, most>>10)
	}
	return text, nil
}

// swapTime is how long a file may be amid being replaced: empty, half written, or a certificate whose
// key is not there yet. Until then what it held before is in force.
const swapTime = 10 * time.Second

// swapped is what was read of files that may be replaced at any time. It is safe for concurrent use.
type swapped[T any] struct {
	mu    sync.Mutex
	last  T    // that could be read
	known bool // there is one
	since time.Time
}

// now returns what was read, or what was read before, where that has failed for no longer than swapTime.
func (s *swapped[T]) now(read T, err error) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.last, s.known, s.since = read, true, time.Time{}
		return read, nil
	}
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if s.known && time.Since(s.since) < swapTime {
		return s.last, nil
	}
	return read, err
}

// clean returns a secret as it was meant: without the line breaks that editors, echo and base64
// leave at its end, and the mark that some editors put at its beginning. Spaces are part of it.
// The error does not show it.
func clean(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errors.New("not UTF-8; save it in that encoding")
	}
	text = strings.TrimRight(strings.TrimPrefix(text, "\ufeff"), "\r\n")
	switch {
	case text == "":
		return "", errors.New("empty")
	case strings.ContainsAny(text, "\r\n"):
		return "", fmt.Errorf("%d lines; a secret is one line", strings.Count(text, "\n")+1)
	case strings.ContainsFunc(text, unicode.IsControl):
		return "", errors.New("control characters in it, such as a tab or zero bytes")
	}
	return text, nil
}

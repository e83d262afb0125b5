package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gzipReader reads gzip of several members, and what stands behind the last of them: zeros, by which
// tapes and blocks are filled up, are passed over as gzip itself does, and anything else is an error
// that says so.
type gzipReader struct {
	*gzip.Reader
	r *bufio.Reader
}

func newGzipReader(r io.Reader) (*gzipReader, error) {
	b := bufio.NewReader(r)
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipReader{z, b}, nil
}

// Read implements io.Reader.
func (g *gzipReader) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if n > 0 {
		return n, nil
	}
	for {
		head, err := g.r.Peek(2)
		if len(head) > 0 && head[0] == 0 {
			if _, err := g.r.Discard(1); err != nil {
				return 0, err
			}
			continue
		}
		switch {
		case len(head) == 0:
			return 0, err
		case !bytes.Equal(head, []byte{0x1f, 0x8b}):
			return 0, errors.New("something else stands behind the end of what is compressed: unpack it by gzip -dc, which passes over that")
		}
		if err := g.Reset(g.r); err != nil {
			return 0, err
		}
		g.Multistream(false)
		return g.Read(p)
	}
}

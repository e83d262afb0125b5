package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/millrace/millrace/schemas/arrowipc"
)

const (
	maxMetadata = 64 << 20 // bytes of a message's metadata
	maxBody     = 1 << 30  // bytes of a message's body, where it cannot be read in parts
)

// ipcMessage is one encapsulated message.
type ipcMessage struct {
	arrowipc.Message
	body io.ReaderAt
	from int64 // of the body
}

// ipcInput gives message after message, nil at the end.
type ipcInput interface {
	next() (*ipcMessage, error)
	Close() error
}

// ipcFile reads messages of a file, bodies only where they are looked at.
type ipcFile struct {
	r       io.ReaderAt
	at, end int64
	buf     []byte
	footer  *arrowipc.Footer // nil: messages follow each other
	read    int              // messages of the footer, its schema included
}

// readFooter reads the footer of size bytes behind end, where no message begins at the start.
func (f *ipcFile) readFooter(size int64) error {
	var start [4]byte
	if _, err := f.r.ReadAt(start[:], f.at); err != nil || size == 0 || size > maxMetadata || binary.LittleEndian.Uint32(start[:]) == 0xffffffff {
		return err
	}
	buf := make([]byte, size)
	if _, err := f.r.ReadAt(buf, f.end); err != nil {
		return err
	}
	footer, err := arrowipc.ReadFooter(buf)
	f.footer = &footer
	return err
}

// seek goes to the next message that the footer names; false is behind the last one.
func (f *ipcFile) seek() (bool, error) {
	f.read++
	if f.read-2 >= len(f.footer.Messages) {
		return false, nil
	}
	f.at = f.footer.Messages[f.read-2]
	if f.at < 8 || f.at >= f.end {
		return false, errors.New("its footer names a message outside of it")
	}
	return true, nil
}

func (f *ipcFile) Close() error { return nil } // the source closes its file

func (f *ipcFile) next() (*ipcMessage, error) {
	if f.footer != nil {
		if f.read == 0 {
			f.read = 1
			return &ipcMessage{Message: f.footer.Schema}, nil
		}
		if more, err := f.seek(); !more || err != nil {
			return nil, err
		}
	}
	if f.at >= f.end {
		return nil, nil
	}
	size, err := metadataSize(io.NewSectionReader(f.r, f.at, f.end-f.at))
	if err != nil || size == 0 {
		return nil, err
	}
	f.at += 8
	if size > f.end-f.at {
		return nil, errCut
	}
	if f.buf, err = readUpTo(f.buf, io.NewSectionReader(f.r, f.at, size), size); err != nil {
		return nil, err
	}
	f.at += size
	m, err := parseMessage(f.buf)
	if err != nil {
		return nil, err
	}
	if m.BodyBytes > f.end-f.at {
		return nil, errCut
	}
	m.body, m.from = f.r, f.at
	f.at += m.BodyBytes
	return m, nil
}

// ipcStream reads messages of a stream, one body at a time into memory.
type ipcStream struct {
	io.ReadCloser
	buf  []byte
	body []byte
}

func (s *ipcStream) next() (*ipcMessage, error) {
	size, err := metadataSize(s.ReadCloser)
	if errors.Is(err, io.EOF) {
		return nil, nil // an end without a mark is allowed
	}
	if err != nil || size == 0 {
		return nil, err
	}
	if s.buf, err = readUpTo(s.buf, s.ReadCloser, size); err != nil {
		return nil, err
	}
	m, err := parseMessage(s.buf)
	if err != nil {
		return nil, err
	}
	if m.BodyBytes > maxBody {
		return nil, fmt.Errorf("a message has %d bytes, at most %d are read of a stream", m.BodyBytes, maxBody)
	}
	if s.body, err = readUpTo(s.body, s.ReadCloser, m.BodyBytes); err != nil {
		return nil, err
	}
	m.body = bytes.NewReader(s.body)
	return m, nil
}

var errCut = errors.New("it is cut short within a message")

// readUpTo reads size bytes, taking memory for those that are there.
func readUpTo(buf []byte, r io.Reader, size int64) ([]byte, error) {
	b := bytes.NewBuffer(buf[:0])
	if n, err := io.CopyN(b, r, size); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %d bytes of %d are there", errCut, n, size)
		}
		return buf, err
	}
	return b.Bytes(), nil
}

// metadataSize reads the start of a message: 0 is the end of the stream.
func metadataSize(r io.Reader) (int64, error) {
	var prefix [8]byte
	if n, err := io.ReadFull(r, prefix[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && (n != 4 || !bytes.Equal(prefix[:4], []byte{0, 0, 0, 0})) {
			err = errCut
		} else if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return 0, err
	}
	if binary.LittleEndian.Uint32(prefix[:]) != 0xffffffff {
		return 0, errors.New("no Arrow message starts where one should")
	}
	size := int64(binary.LittleEndian.Uint32(prefix[4:]))
	if size > maxMetadata {
		return 0, fmt.Errorf("a message says that its metadata has %d bytes, at most %d are read", size, maxMetadata)
	}
	return size, nil
}

func parseMessage(buf []byte) (*ipcMessage, error) {
	m, err := arrowipc.ReadMetadata(buf)
	return &ipcMessage{Message: m}, err
}

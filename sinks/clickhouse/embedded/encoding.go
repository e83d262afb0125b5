package embedded

import (
	"bufio"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

const (
	// maxWindow bounds what a decoder keeps of what it has decoded, which a body of a few bytes may
	// ask for: zstd's window and xz's dictionary.
	maxWindow = 64 << 20
	// maxSnappyBlock bounds a block of snappy. Hadoop's writers make 256 KiB.
	maxSnappyBlock = 8 << 20
)

// decodeBody undoes the body's Content-Encoding, which is one of those that ClickHouse takes, and,
// for decompress=1, ClickHouse's own frames. An empty body is empty whatever its encoding. Reads
// fail where the body ends early, and where something follows its end. The caller closes it.
func decodeBody(r *http.Request, framed bool) (io.ReadCloser, error) {
	in := bufio.NewReader(r.Body)
	body, err := decoder(r.Header.Get("Content-Encoding"), in)
	if err != nil {
		return nil, err
	}
	if framed {
		return struct {
			io.Reader
			io.Closer
		}{frameReader{compress.NewReader(body)}, body}, nil
	}
	return body, nil
}

func decoder(encoding string, in *bufio.Reader) (body io.ReadCloser, err error) {
	if _, err := in.Peek(1); errors.Is(err, io.EOF) {
		return io.NopCloser(in), nil
	} else if err != nil {
		return nil, bodyCut(err)
	}
	switch strings.ToLower(encoding) {
	case "", "identity":
		body = io.NopCloser(in)
	case "gzip", "x-gzip", "gz":
		body, err = gzip.NewReader(in)
	case "deflate":
		if body, err = zlib.NewReader(in); err == nil {
			body = &single{ReadCloser: body, in: in}
		}
	case "br", "brotli":
		body = &single{ReadCloser: io.NopCloser(brotli.NewReader(in)), in: in}
	case "zstd", "zst":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			body = d.IOReadCloser()
		}
	case "lz4":
		body = io.NopCloser(&lz4Frames{in: in, frame: lz4.NewReader(in)})
	case "xz", "lzma":
		var d *xz.Reader
		if d, err = xz.NewReader(in, maxWindow); err == nil {
			body = io.NopCloser(d)
		}
	case "bz2":
		body = io.NopCloser(bzip2.NewReader(in))
	case "snappy":
		body = io.NopCloser(&hadoopSnappy{in: in})
	default:
		return nil, newException(codeNotImplemented, "Unknown compression method '%.40s' as Content-Encoding: send one of gzip, deflate, br, zstd, lz4, xz, bz2 and snappy, or none", encoding)
	}
	if err != nil {
		return nil, bodyCut(err)
	}
	return body, nil
}

// single is a body that is over where its encoding ends: what follows is an error, not left out.
type single struct {
	io.ReadCloser
	in *bufio.Reader
}

func (s *single) Read(to []byte) (int, error) {
	n, err := s.ReadCloser.Read(to)
	if errors.Is(err, io.EOF) {
		if _, end := s.in.Peek(1); end != nil {
			return n, end
		}
		return n, errors.New("it goes on behind the end of what is compressed")
	}
	return n, err
}

// lz4Frames reads one LZ4 frame after the other.
type lz4Frames struct {
	in    *bufio.Reader
	frame *lz4.Reader
}

func (f *lz4Frames) Read(to []byte) (int, error) {
	for {
		n, err := f.frame.Read(to)
		if n > 0 && errors.Is(err, io.EOF) {
			return n, nil
		}
		if !errors.Is(err, io.EOF) || n > 0 {
			return n, err
		}
		if _, end := f.in.Peek(1); end != nil {
			return 0, end
		}
		f.frame.Reset(f.in)
	}
}

// hadoopSnappy reads snappy as ClickHouse takes it, in Hadoop's blocks: the length of the decoded
// block, then for each of its chunks the length of the chunk and the chunk. Lengths are four
// bytes, the highest first.
type hadoopSnappy struct {
	in     *bufio.Reader
	block  uint32 // what is still to come of the block, decoded
	chunk  []byte
	buffer []byte // of which out is what has not been read
	out    []byte
}

func (h *hadoopSnappy) Read(to []byte) (int, error) {
	for len(h.out) == 0 {
		if err := h.next(); err != nil {
			return 0, err
		}
	}
	n := copy(to, h.out)
	h.out = h.out[n:]
	return n, nil
}

// next decodes a chunk, or reads the length of a block. It returns io.EOF between two blocks only.
func (h *hadoopSnappy) next() error {
	if h.block == 0 {
		return h.length(&h.block)
	}
	var size uint32
	err := h.length(&size)
	if err == nil {
		h.chunk = resize(h.chunk, int(size))
		_, err = io.ReadFull(h.in, h.chunk)
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	n, err := snappy.DecodedLen(h.chunk)
	if err != nil {
		return err
	}
	if n > int(h.block) {
		return fmt.Errorf("snappy: a chunk of %d bytes where its block has %d left", n, h.block)
	}
	h.buffer = resize(h.buffer, n)
	if h.out, err = snappy.Decode(h.buffer, h.chunk); err != nil {
		return err
	}
	h.block -= uint32(n)
	return nil
}

func (h *hadoopSnappy) length(into *uint32) error {
	var b [4]byte
	if _, err := io.ReadFull(h.in, b[:]); err != nil {
		return err
	}
	if *into = binary.BigEndian.Uint32(b[:]); *into > maxSnappyBlock {
		return fmt.Errorf("snappy: a block of %d bytes, %d are the most: it must be framed as Hadoop's", *into, maxSnappyBlock)
	}
	return nil
}

func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// answerEncodings are those of answers, the preferred ones first, as in ClickHouse. It has xz and
// bz2 too, which take so long that one request could hold a core for a minute.
var answerEncodings = []string{"zstd", "br", "lz4", "gzip", "deflate"}

// answerEncoding is the Content-Encoding of the answer to a client that accepts those, or "".
func answerEncoding(accept string) string {
	accepted := map[string]bool{}
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		q, weighed := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(params), " ", ""), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		accepted[strings.ToLower(strings.TrimSpace(name))] = !weighed || err == nil && weight > 0
	}
	for _, name := range answerEncodings {
		if accepted[name] {
			return name
		}
	}
	return ""
}

// encoder compresses what is written to it, quickly rather than well, into w. Close ends it.
func encoder(encoding string, w io.Writer) (io.WriteCloser, error) {
	switch encoding {
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	case "br":
		return brotli.NewWriterLevel(w, 1), nil
	case "lz4":
		return lz4.NewWriter(w), nil
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "deflate":
		return zlib.NewWriterLevel(w, zlib.BestSpeed)
	}
	return nil, fmt.Errorf("no encoder of %q", encoding)
}

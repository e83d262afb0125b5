//go:build linux && amd64

package embedded

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

// encodedRows are the numbers from 0 to 9999, one a line, in each Content-Encoding.
func encodedRows(t *testing.T) (rows []byte, encoded map[string][]byte) {
	t.Helper()
	var text bytes.Buffer
	for n := range 10_000 {
		fmt.Fprintln(&text, n)
	}
	rows = text.Bytes()
	encoded = map[string][]byte{"snappy": hadoop(rows[:20_000], rows[20_000:])}
	for _, name := range []string{"xz", "bz2"} {
		file, err := os.ReadFile("testdata/encoded/rows." + name)
		require.NoError(t, err)
		encoded[name] = file
	}
	for _, name := range answerEncodings {
		var out bytes.Buffer
		w, err := encoder(name, &out)
		require.NoError(t, err)
		_, err = w.Write(rows)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		encoded[name] = out.Bytes()
	}
	return rows, encoded
}

// hadoop is snappy in Hadoop's framing: a block of two chunks for each of blocks.
func hadoop(blocks ...[]byte) []byte {
	var out []byte
	for _, block := range blocks {
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		for _, chunk := range [][]byte{block[:len(block)/3], block[len(block)/3:]} {
			chunk = snappy.Encode(nil, chunk)
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(chunk))), chunk...)
		}
	}
	return out
}

func decode(encoding string, body []byte) ([]byte, error) {
	d, err := decoder(encoding, bufio.NewReader(bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

func TestBodyEncodings(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
	rows, encoded := encodedRows(t)
	require.Len(t, encoded, 8)
	for encoding, body := range encoded {
		t.Run(encoding, func(t *testing.T) {
			header := http.Header{"Content-Encoding": {encoding}}
			query(t, db, "TRUNCATE TABLE t")
			status, text, answered := post(t, bytes.NewReader(body[:len(body)-9]), header, "query", "INSERT INTO t FORMAT CSV", "database", db)
			require.Equal(t, http.StatusBadRequest, status, text)
			require.Equal(t, "33", answered.Get("X-ClickHouse-Exception-Code"))
			require.Equal(t, "0\n", query(t, db, "SELECT count() FROM t"))

			status, text, _ = post(t, bytes.NewReader(body), header, "query", "INSERT INTO t FORMAT CSV", "database", db)
			require.Equal(t, http.StatusOK, status, text)
			require.Equal(t, "10000\t49995000\n", query(t, db, "SELECT count(), sum(n) FROM t"))

			// Wherever it ends early, it is an error: rows of half a body are none. (Between two blocks of
			// snappy only HTTP can tell.)
			for cut := 1; cut < len(body); cut += 1 + len(body)/97 {
				_, err := decode(encoding, body[:cut])
				require.Error(t, err, "cut at %d of %d", cut, len(body))
			}
			// What follows its end is read or an error, never left out.
			twice, err := decode(encoding, append(bytes.Clone(body), body...))
			if encoding == "deflate" || encoding == "br" {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				require.True(t, bytes.Equal(append(bytes.Clone(rows), rows...), twice))
			}
			_, err = decode(encoding, append(bytes.Clone(body), "INSERT"...))
			require.Error(t, err)
			empty, err := decode(encoding, nil)
			require.NoError(t, err)
			require.Empty(t, empty)
		})
	}
	for _, encoding := range []string{"gzip, gzip", "gzip,identity", "compress", "none", strings.Repeat("x", 5000)} {
		status, text, answered := post(t, strings.NewReader("SELECT 1"), http.Header{"Content-Encoding": {encoding}})
		require.Equal(t, http.StatusNotImplemented, status, text)
		require.Equal(t, "48", answered.Get("X-ClickHouse-Exception-Code"))
		require.Less(t, len(text), 300)
	}
}

// A few bytes that ask for much memory, or that become a text without an end, get neither.
func TestHostileEncodings(t *testing.T) {
	_, encoded := encodedRows(t)
	dictionary := bytes.Clone(encoded["xz"])
	block := dictionary[12:] // behind the stream's header
	size := 4 * (int(block[0]) + 1)
	require.Equal(t, byte(0x21), block[2], "LZMA2")
	block[4] = 40 // a dictionary of 4 GiB
	binary.LittleEndian.PutUint32(block[size-4:], crc32.ChecksumIEEE(block[:size-4]))
	_, err := decode("xz", dictionary)
	require.ErrorContains(t, err, "dictionary size exceeds max")

	_, err = decode("zstd", []byte("\x28\xb5\x2f\xfd\x00\xb0\x01\x00\x00")) // a window of 4 GiB
	require.ErrorContains(t, err, "window size exceeded")

	for text, want := range map[string]string{
		"\x7f\xff\xff\xff":                         "a block of 2147483647 bytes",
		"\x00\x00\x00\x04\x7f\xff\xff\xff":         "a block of 2147483647 bytes",
		"\x00\x00\x00\x04\x00\x00\x00\x02\x05\x10": "where its block has 4 left",
		"\x00\x00\x00\x04\x00\x00\x00\x01\xff":     "corrupt",
		"\xff\x06\x00\x00sNaPpY":                   "must be framed as Hadoop's",
	} {
		_, err := decode("snappy", []byte(text))
		require.ErrorContains(t, err, want)
	}

	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, err = io.Copy(w, io.LimitReader(blanks{}, maxQueryBytes+1<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	status, _, answered := post(t, &bomb, http.Header{"Content-Encoding": {"gzip"}})
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Equal(t, "307", answered.Get("X-ClickHouse-Exception-Code"))
}

type blanks struct{}

func (blanks) Read(to []byte) (int, error) {
	for i := range to {
		to[i] = ' '
	}
	return len(to), nil
}

func TestAnswersAreCompressed(t *testing.T) {
	rows, _ := encodedRows(t)
	decoders := map[string]func(io.Reader) (io.Reader, error){
		"":        func(r io.Reader) (io.Reader, error) { return r, nil },
		"zstd":    func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) },
		"br":      func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
		"lz4":     func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil },
		"gzip":    func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"deflate": func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) },
	}
	for accept, want := range map[string]string{
		"zstd": "zstd", "br": "br", "lz4": "lz4", "gzip": "gzip", "deflate": "deflate",
		"lz4,zstd,br,gzip,deflate": "zstd", "gzip;q=1.0, zstd;q=0, br; q=0.5": "br", "identity": "", "*": "", "xz, bz2, snappy": "", "gzip;q=x": "", "GZIP": "gzip",
	} {
		status, text, answered := post(t, nil, http.Header{"Accept-Encoding": {accept}}, "query", "SELECT number FROM numbers(10000)", "enable_http_compression", "1")
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, want, answered.Get("Content-Encoding"), accept)
		r, err := decoders[want](strings.NewReader(text))
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(rows, got), accept)
	}
	// As in ClickHouse, no answer is compressed that was not asked to be, nor one without rows.
	for _, args := range [][]string{{"query", "SELECT 1"}, {"query", "SELECT 1 WHERE 0", "enable_http_compression", "1"}} {
		_, _, answered := post(t, nil, http.Header{"Accept-Encoding": {"zstd"}}, args...)
		require.Empty(t, answered.Get("Content-Encoding"))
	}
}

// Whatever the bytes, no decoder panics.
func FuzzDecoder(f *testing.F) {
	names := []string{"gzip", "deflate", "br", "zstd", "lz4", "xz", "bz2", "snappy"}
	for i := range names {
		f.Add(uint8(i), hadoop([]byte("0\n1\n2\n")))
	}
	f.Fuzz(func(_ *testing.T, name uint8, body []byte) {
		d, err := decoder(names[int(name)%len(names)], bufio.NewReader(bytes.NewReader(body)))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(d, 1<<16))
		_ = d.Close()
	})
}

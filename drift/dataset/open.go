package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
)

// Formats.
const (
	FormatCSV         = "csv"
	FormatParquet     = "parquet"
	FormatArrow       = "arrow"  // IPC file, Feather version 2
	FormatArrowStream = "arrows" // IPC stream
	FormatJSONLines   = "jsonl"  // also an array of objects, and an object of columns
)

// Formats lists what Open reads.
var Formats = []string{FormatCSV, FormatParquet, FormatArrow, FormatArrowStream, FormatJSONLines}

// Options says how to read a table. The zero value takes everything from the file.
type Options struct {
	// Format is one of Formats. Empty: by the file's extension, then by its first bytes.
	Format string

	// Delimiter of CSV. 0: what the file's first line says (sep=;), else a comma, or a tab where the
	// extension is .tsv.
	Delimiter byte
	guessed   bool // it was 0

	// Decimal is the decimal point of the numbers of CSV, Thousands what separates their thousands.
	// 0: a point, and nothing. A number that is written otherwise is text.
	Decimal, Thousands byte

	// Encoding is that of the text of CSV and JSON without a byte order mark, by a name of ParseEncoding.
	// Empty: UTF-8.
	Encoding string

	// NoHeader says that the first line of CSV has values: columns are called column_1 and so on.
	NoHeader bool

	// Types are the types of columns by name, of the variables of this package, instead of
	// the inferred or the file's ones. Values that do not fit are nulls and counted by
	// TypeErrors. A name that the table does not have is an error.
	Types map[string]arrow.DataType

	// NA are the words that mean a missing value in CSV, beside the empty one. nil: DefaultNA. In quotes they
	// mean it only in a column that is no text.
	NA []string

	// BatchRows is the most rows of a batch. 0: 65,536. Batches are smaller where there are
	// many columns or long texts.
	BatchRows int
}

// DefaultNA are the words that mean a missing value: those of pandas.read_csv.
var DefaultNA = []string{
	"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
	"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
}

var typeNames = map[string]arrow.DataType{
	"int": Int64, "int64": Int64, "uint": Uint64, "uint64": Uint64, "float": Float64, "float64": Float64,
	"float32": Float32, "bool": Boolean, "boolean": Boolean, "text": Text, "str": Text, "string": Text,
	"utf8": Text, "category": Text, "date": Date, "timestamp": Timestamp, "datetime": Timestamp,
}

// ParseType returns the type that a user calls int, float, bool, text, date or timestamp.
func ParseType(name string) (arrow.DataType, error) {
	if t, ok := typeNames[strings.ToLower(name)]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("unknown column type %q: want int, uint, float, bool, text, date or timestamp", name)
}

var extensions = map[string]string{
	".csv": FormatCSV, ".tsv": FormatCSV, ".parquet": FormatParquet, ".pq": FormatParquet,
	".arrow": FormatArrow, ".feather": FormatArrow, ".ipc": FormatArrow, ".arrows": FormatArrowStream,
	".jsonl": FormatJSONLines, ".ndjson": FormatJSONLines, ".json": FormatJSONLines,
}

// Open opens a file. CSV and JSON are read once to infer the types, and may be compressed by gzip, Zstandard,
// bzip2 or LZ4, or be the only file of a zip archive. The end of ctx ends that reading.
func Open(ctx context.Context, path string, o Options) (Source, error) {
	if o.Format == "json" {
		o.Format = FormatJSONLines
	}
	if o.Format != "" && !slices.Contains(Formats, o.Format) {
		return nil, fmt.Errorf("unknown format %q: want one of %s", o.Format, strings.Join(Formats, ", "))
	}
	if info, err := os.Stat(path); err == nil { // first: a pipe that nobody writes to would not even open
		if err := regular(info); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	file, err := os.Open(path) //nolint:gosec // the path is the user's
	if errors.Is(err, os.ErrNotExist) && strings.ContainsAny(path, "*?[") {
		return nil, fmt.Errorf("%w: name one file, since patterns are not expanded", err)
	}
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, path, file, o)
	if err != nil {
		_ = file.Close() // the other error is the cause
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, file *os.File, o Options) (s Source, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("it is broken: %v", p)
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := regular(info); err != nil {
		return nil, err
	}
	head := make([]byte, min(info.Size(), 512))
	if _, err := file.ReadAt(head, 0); err != nil {
		return nil, err
	}
	compressed := compression(head)
	extension := strings.ToLower(filepath.Ext(path))
	if slices.Contains(compressedExtensions, extension) {
		extension = strings.ToLower(filepath.Ext(path[:len(path)-len(extension)]))
	}
	if compressed != compressionNone {
		var name string
		if head, name, err = contents(file, info.Size(), compressed); err != nil {
			return nil, err
		}
		if name != "" {
			extension = strings.ToLower(filepath.Ext(name))
		}
		if compression(head) != compressionNone {
			return nil, errors.New("what is compressed in it is compressed once more: unpack it once")
		}
	}
	if bytes.HasPrefix(head, []byte("FEA1")) {
		return nil, errFeather
	}
	if err := refuseForeign(head); err != nil {
		return nil, err
	}
	if o.Format == "" {
		o.Format = extensions[extension]
		switch is := sniff(head); {
		case is == FormatParquet || is == FormatArrow || is == FormatJSONLines && o.Format == FormatCSV && isObject(head):
			o.Format = is // whatever the name says
		case o.Format != "" && o.Format != is && is == FormatCSV && looksCSV(head):
			return nil, fmt.Errorf("its name says %s, and its first line looks like CSV: --input-format csv reads it", o.Format)
		}
	}
	if o.Format == "" {
		if o.Format = sniff(head); o.Format == FormatCSV && o.Encoding == "" && bytes.IndexByte(head, 0) >= 0 && !isUTF16(head) {
			return nil, errors.New("it holds bytes that no text has: what is read is CSV, JSON, Parquet and Arrow")
		}
	}
	if o.guessed = o.Delimiter == 0; o.guessed {
		o.Delimiter = ','
		if extension == ".tsv" || extension == ".tab" {
			o.Delimiter = '\t'
		}
	}
	t := newBase(path, o)
	binary := o.Format == FormatParquet || o.Format == FormatArrow || o.Format == FormatArrowStream
	switch {
	case binary && compressed != compressionNone:
		return nil, fmt.Errorf("it is compressed as a whole: unpack it first, since %s is read in parts", o.Format)
	case o.Format == FormatParquet:
		s, err = openParquet(t, file, info.Size())
	case binary:
		s, err = openArrow(t, file, info.Size())
	default:
		return openText(ctx, t, file, info.Size(), compressed)
	}
	if err != nil {
		return nil, err
	}
	return withTypes(s, o)
}

// looksCSV tells whether a text, which is no JSON, has delimiters in its first line.
func looksCSV(head []byte) bool {
	line, _, _ := bytes.Cut(space(bytes.TrimPrefix(head, bom)), []byte("\n"))
	return len(line) > 0 && line[0] != '[' && bytes.ContainsAny(line, ",;\t|") && bytes.IndexByte(head, 0) < 0 && utf8.Valid(line)
}

// isObject tells of a text whether it begins with an object of JSON, or with a list of objects, as no line
// of CSV does.
func isObject(head []byte) bool {
	text := space(bytes.TrimPrefix(head, bom))
	if rest, ok := bytes.CutPrefix(text, []byte("[")); ok {
		text = space(rest)
	}
	rest, ok := bytes.CutPrefix(text, []byte("{"))
	return ok && bytes.HasPrefix(space(rest), []byte(`"`))
}

// contents returns the first bytes of what is compressed, and the name that an archive has for it.
func contents(file *os.File, size int64, c compressionKind) (head []byte, name string, err error) {
	if c == compressionZip {
		f, err := zipped(file, size)
		if err != nil {
			return nil, "", err
		}
		name = f.Name
	}
	r, err := decompressed(file, size, c)
	if err != nil {
		return nil, "", err
	}
	defer r.Close() // was only read
	head = make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if n == 0 && errors.Is(err, io.EOF) {
		return nil, "", errors.New("it is empty: there is nothing compressed in it")
	}
	return head[:n], name, nil // what is wrong with it is found where it is read
}

func isUTF16(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff})
}

// regular refuses what is no file with contents.
func regular(info os.FileInfo) error {
	switch {
	case info.IsDir():
		return errors.New("it is a directory: name a file")
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file, and a table is read more than once: write it into a file first")
	case info.Size() == 0:
		return errors.New("it is empty")
	default:
		return nil
	}
}

// sniff tells the format by the first bytes, CSV where nothing else is meant.
func sniff(head []byte) string {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, bom), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")) || bytes.HasPrefix(head, []byte("PARE")):
		return FormatParquet
	case bytes.HasPrefix(head, []byte("ARROW1")):
		return FormatArrow
	case bytes.HasPrefix(head, []byte{0xff, 0xff, 0xff, 0xff}):
		return FormatArrowStream
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")) && (bytes.HasPrefix(space(text[1:]), []byte("{")) || bytes.HasPrefix(space(text[1:]), []byte("["))):
		return FormatJSONLines
	default:
		return FormatCSV
	}
}

var bom = []byte{0xef, 0xbb, 0xbf}

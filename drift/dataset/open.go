package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

// Formats.
const (
	FormatCSV         = "csv"
	FormatParquet     = "parquet"
	FormatArrow       = "arrow"  // IPC file, Feather version 2
	FormatArrowStream = "arrows" // IPC stream
	FormatJSONLines   = "jsonl"
)

// Formats lists what Open reads.
var Formats = []string{FormatCSV, FormatParquet, FormatArrow, FormatArrowStream, FormatJSONLines}

// Options says how to read a table. The zero value takes everything from the file.
type Options struct {
	// Format is one of Formats. Empty: by the file's extension, then by its first bytes.
	Format string

	// Delimiter of CSV. 0: a comma, or a tab where the extension is .tsv.
	Delimiter byte

	// NoHeader says that the first line of CSV has values: columns are called column_1 and so on.
	NoHeader bool

	// Types are the types of columns by name, of the variables of this package, instead of
	// the inferred or the file's ones. Values that do not fit are nulls and counted by
	// TypeErrors. A name that the table does not have is an error.
	Types map[string]arrow.DataType

	// NA are the words that mean a missing value in CSV, beside the empty one. nil: DefaultNA.
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
	".jsonl": FormatJSONLines, ".ndjson": FormatJSONLines,
}

// Open opens a file. CSV and JSON lines are read once to infer the types, and may be
// compressed by gzip or Zstandard (.gz, .zst). The end of ctx ends that reading.
func Open(ctx context.Context, path string, o Options) (Source, error) {
	if o.Format != "" && !slices.Contains(Formats, o.Format) {
		return nil, fmt.Errorf("unknown format %q: want one of %s", o.Format, strings.Join(Formats, ", "))
	}
	if info, err := os.Stat(path); err == nil { // first: a pipe that nobody writes to would not even open
		if err := regular(info); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	file, err := os.Open(path) //nolint:gosec // the path is the user's
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
	if extension == ".gz" || extension == ".zst" {
		extension = strings.ToLower(filepath.Ext(path[:len(path)-len(extension)]))
	}
	if o.Format == "" {
		o.Format = extensions[extension]
		if s := sniff(head); s == FormatParquet || s == FormatArrow {
			o.Format = s // whatever the name says
		}
	}
	if o.Format == "" && compressed == compressionNone {
		if o.Format = sniff(head); o.Format == FormatCSV && bytes.IndexByte(head, 0) >= 0 && !isUTF16(head) {
			return nil, errors.New("it holds bytes that no text has: what is read is CSV, JSON lines, Parquet and Arrow")
		}
	}
	if o.Format == "" {
		o.Format = FormatCSV
	}
	guess := o.Delimiter == 0
	if guess {
		o.Delimiter = ','
		if extension == ".tsv" {
			o.Delimiter = '\t'
		}
	}
	t := newBase(path, o)
	switch o.Format {
	case FormatParquet:
		s, err = openParquet(t, file, info.Size())
	case FormatArrow, FormatArrowStream:
		s, err = openArrow(t, file, info.Size())
	default:
		s, err := openText(ctx, t, file, info.Size(), compressed)
		if err == nil && guess && o.Format == FormatCSV && s.Schema().NumFields() == 1 {
			err = otherDelimiter(s.Schema().Field(0).Name)
		}
		return s, err
	}
	if err != nil {
		return nil, err
	}
	return withTypes(s, o)
}

// otherDelimiter refuses the name of an only column that looks like several.
func otherDelimiter(name string) error {
	if !strings.ContainsAny(name, ";\t|") {
		return nil
	}
	return fmt.Errorf("its only column is called %q: give the character between values (--delimiter), or a comma where that is right", name)
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

type compressionKind uint8

const (
	compressionNone compressionKind = iota
	compressionGzip
	compressionZstd
)

func compression(head []byte) compressionKind {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return compressionGzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return compressionZstd
	default:
		return compressionNone
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
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")) && bytes.HasPrefix(space(text[1:]), []byte("{")):
		return FormatJSONLines
	default:
		return FormatCSV
	}
}

var bom = []byte{0xef, 0xbb, 0xbf}

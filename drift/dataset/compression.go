package dataset

import (
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

type compressionKind uint8

const (
	compressionNone compressionKind = iota
	compressionGzip
	compressionZstd
	compressionBzip2
	compressionLZ4
	compressionZip // of one file
)

func compression(head []byte) compressionKind {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return compressionGzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return compressionZstd
	case bytes.HasPrefix(head, []byte("BZh")) && len(head) > 9 && bytes.Equal(head[4:10], []byte{0x31, 0x41, 0x59, 0x26, 0x53, 0x59}):
		return compressionBzip2
	case bytes.HasPrefix(head, []byte{0x04, 0x22, 0x4d, 0x18}):
		return compressionLZ4
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return compressionZip
	default:
		return compressionNone
	}
}

// compressedExtensions are the ends of names that stand behind the one that tells the format.
var compressedExtensions = []string{".gz", ".gzip", ".zst", ".zstd", ".bz2", ".lz4", ".zip"}

// decompressed returns the contents of a file.
func decompressed(file *os.File, size int64, c compressionKind) (io.ReadCloser, error) {
	r := io.NewSectionReader(file, 0, size)
	switch c {
	case compressionGzip:
		return newGzipReader(r)
	case compressionZstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case compressionBzip2:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case compressionLZ4:
		return io.NopCloser(lz4.NewReader(r)), nil
	case compressionZip:
		f, err := zipped(file, size)
		if err != nil {
			return nil, err
		}
		return f.Open()
	default:
		return io.NopCloser(r), nil
	}
}

// zipped returns the only file of an archive.
func zipped(file *os.File, size int64) (*zip.File, error) {
	archive, err := zip.NewReader(file, size)
	if err != nil {
		return nil, fmt.Errorf("it is a zip archive that cannot be read: %w", err)
	}
	var only *zip.File
	files := 0
	for _, f := range archive.File {
		name := path.Base(f.Name)
		switch {
		case f.Name == "[Content_Types].xml":
			return nil, errors.New("it is a workbook of Excel: save the sheet as CSV, or write it as Parquet")
		case f.Name == "mimetype":
			return nil, errors.New("it is an OpenDocument file: save the sheet as CSV")
		case f.FileInfo().IsDir() || strings.HasPrefix(f.Name, "__MACOSX/") || name == ".DS_Store":
			continue
		}
		files++
		only = f
	}
	switch {
	case files != 1:
		return nil, fmt.Errorf("it is a zip archive of %d files: unpack it, and name one", files)
	case only.Flags&1 != 0:
		return nil, errors.New("it is a zip archive with a password: unpack it")
	}
	return only, nil
}

// foreign are the first bytes of files that are no tables that are read here.
var foreign = []struct {
	bytes string
	at    int
	is    string
}{
	{"ORC", 0, "an ORC file"},
	{"Obj\x01", 0, "an Avro file"},
	{"SQLite format 3\x00", 0, "a SQLite database"},
	{"DUCK", 8, "a DuckDB database"},
	{"\x89HDF\r\n\x1a\n", 0, "an HDF5 file"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "a workbook of an old Excel, or another file of an old Office"},
	{"\x93NUMPY", 0, "an array of NumPy"},
	{"%PDF-", 0, "a PDF"},
	{"\x80\x02", 0, "a pickle of Python"},
	{"\x80\x03", 0, "a pickle of Python"},
	{"\x80\x04", 0, "a pickle of Python"},
	{"\x80\x05", 0, "a pickle of Python"},
	{"RDX2\n", 0, "a file of R"},
	{"RDX3\n", 0, "a file of R"},
	{"X\n\x00\x00\x00", 0, "a file of R"},
	{"ustar", 257, "a tar archive"},
	{"\xfd7zXZ\x00", 0, "compressed by xz, which is not unpacked here"},
	{"7z\xbc\xaf\x27\x1c", 0, "a 7z archive"},
	{"Rar!\x1a\x07", 0, "a RAR archive"},
	{"PK\x05\x06", 0, "a zip archive without files"},
	{"<stata_dta>", 0, "a file of Stata"},
	{"$FL2", 0, "a file of SPSS"},
	{"<?xml", 0, "XML"},
	{"<!DOCTYPE html", 0, "a web page"},
	{"<html", 0, "a web page"},
	{"version https://git-lfs.github.com/spec/", 0, "a pointer of Git LFS, not the file itself (git lfs pull gets it)"},
}

// refuseForeign says what a file is that is none of what is read. The bytes are those of its contents.
func refuseForeign(head []byte) error {
	for _, f := range foreign {
		if len(head) < f.at+len(f.bytes) {
			continue
		}
		if part := head[f.at : f.at+len(f.bytes)]; string(part) == f.bytes || f.bytes[0] == '<' && strings.EqualFold(string(part), f.bytes) {
			return fmt.Errorf("it is %s: what is read is CSV, JSON, Parquet and Arrow", f.is)
		}
	}
	return nil
}

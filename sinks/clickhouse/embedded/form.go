//go:build linux && amd64

package embedded

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

const (
	// maxFields bounds the fields of a form, and maxTables the files among them, each of which is a
	// table and an open file of this process.
	maxFields = 1000
	maxTables = 16
)

// isForm tells whether the request's parameters go on in its body, as `curl -F` sends them. Other
// types of forms are no forms to ClickHouse: curl says so of every body that it sends.
func isForm(r *http.Request) bool {
	return strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/form-data")
}

var formatName = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// form is the body of a request whose parameters go on in it: the query, parameters of it and
// settings are fields; a file is a table that the query can name.
type form struct {
	dir    string     // of the engine
	args   url.Values // of the URL, which win over fields
	tables []*table
	text   int64 // bytes of fields
	rows   int64 // bytes of files
	reader bool  // nobody with the password sends it
}

// table is a table of a request's own, which is gone with it.
type table struct {
	name string
	rows *spool
}

// read reads the form and adds its fields to args. What a file holds waits in a spool, which close
// frees, with an error too. An error says that nothing may be run.
func (f *form) read(r *http.Request, body io.Reader) error {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return newException(codeBadArguments, "the request's Content-Type names no boundary between the fields of its form")
	}
	if f.reader {
		body = io.LimitReader(body, 2*maxReadingBytes) // the names of fields too
	}
	// The reader of forms takes a form that ends within the head of a field for one that is complete.
	// That end is an error here, behind a line break, which the last boundary may lack.
	parts := multipart.NewReader(io.MultiReader(body, strings.NewReader("\r\n"), cut{}), params["boundary"])
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bodyCut(err)
		}
		if n == maxFields {
			return newException(codeTooManyBytes, "the form has more than %d fields", maxFields)
		}
		if err := f.add(part); err != nil {
			return err
		}
	}
}

// cut is the end of a form that has not ended.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (f *form) add(part *multipart.Part) error {
	_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition")) // none is a field without a name
	name := disposition["name"]
	if _, ok := disposition["filename"]; ok {
		return f.addTable(firstOf(name, "_data"), part)
	}
	limit := int64(maxQueryBytes)
	if f.reader {
		limit = maxReadingBytes
	}
	value, err := io.ReadAll(io.LimitReader(part, limit-f.text+1))
	if err != nil {
		return bodyCut(err)
	}
	if f.text += int64(len(value)); f.text > limit {
		return tooLarge(limit)
	}
	// Who somebody is has been asked before the form was read.
	if name != "" && name != "user" && name != "password" && !f.args.Has(name) {
		f.args.Set(name, string(value))
	}
	return nil
}

func (f *form) addTable(name string, part io.Reader) error {
	switch {
	case f.reader:
		return needsPassword("files, such as %.40q, for tables of a query's own", name)
	case len(f.tables) == maxTables:
		return newException(codeTooManyBytes, "the form has more than %d files", maxTables)
	}
	rows, err := newSpool(f.dir)
	if err != nil {
		return err
	}
	rows.limit = max(1, rows.limit-f.rows) // all files together have what the rows of an insert have
	f.tables = append(f.tables, &table{name, rows})
	n, err := io.Copy(rows, io.LimitReader(part, maxInsertBytes-f.rows+1))
	if f.rows += n; f.rows > maxInsertBytes {
		return tooLarge(maxInsertBytes)
	}
	if err != nil {
		return bodyCut(err)
	}
	return nil
}

// statements make the tables; to be run once, while the form is not closed. check is for what the
// engine will read as SQL.
func (f *form) statements(check func(text string) error) ([]string, error) {
	var out []string
	for _, t := range f.tables {
		format := firstOf(f.args.Get(t.name+"_format"), "TabSeparated")
		if !formatName.MatchString(format) {
			return nil, newException(codeBadArguments, "%.40q is no format, for the external table %.40q", format, t.name)
		}
		structure := f.args.Get(t.name + "_structure")
		if structure == "" {
			structure = columnsOf(f.args.Get(t.name + "_types"))
		}
		if structure == "" {
			return nil, newException(codeBadArguments, "Neither structure nor types have been provided for external table %.40q: use the fields %.40[1]s_structure or %.40[1]s_types", t.name)
		}
		if err := check(structure); err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("CREATE TEMPORARY TABLE %s ENGINE = Memory AS SELECT * FROM file('%s', %s, %s)",
			quote(t.name, '`'), t.rows.path(), format, quote(structure, '\'')))
	}
	return out, nil
}

// isOwn tells whether the URL parameter or field says what a file of the form is.
func (f *form) isOwn(name string) bool {
	for _, t := range f.tables {
		if rest, ok := strings.CutPrefix(name, t.name); ok && (rest == "_format" || rest == "_structure" || rest == "_types") {
			return true
		}
	}
	return false
}

func (f *form) close() {
	for _, t := range f.tables {
		_ = t.rows.Close() // it has no name, nor anything that must be written
	}
}

// columnsOf gives the types of a list ClickHouse's names of columns without a name.
func columnsOf(types string) string {
	if strings.TrimSpace(types) == "" {
		return ""
	}
	var out strings.Builder
	n, depth := 1, 0
	out.WriteString("_1 ")
	l := lexer{text: types}
	for from := 0; ; {
		t := l.next()
		switch t.text {
		case "(":
			depth++
		case ")":
			depth--
		}
		if t.text == "," && depth == 0 || t.text == "" {
			out.WriteString(types[from:t.at])
			if t.text == "" {
				return out.String()
			}
			n++
			from = l.pos
			out.WriteString(", _" + strconv.Itoa(n) + " ")
		}
	}
}

//go:build linux && amd64

package embedded

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

// field is a field of a form, or a file where it has a filename.
type field struct{ name, filename, value string }

// formOf is a form as curl and Python's clients send it, and its Content-Type.
func formOf(t *testing.T, fields ...field) (body []byte, contentType string) {
	t.Helper()
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, f := range fields {
		create := w.CreateFormField
		if f.filename != "" {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(name, f.filename) }
		}
		part, err := create(f.name)
		require.NoError(t, err)
		_, err = io.WriteString(part, f.value)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes(), w.FormDataContentType()
}

// postForm sends a form to addr; params are those of the URL.
func postForm(t *testing.T, addr, params string, header http.Header, fields ...field) (status int, text, code string) {
	t.Helper()
	body, contentType := formOf(t, fields...)
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", contentType)
	status, text, answered := do(t, http.MethodPost, "http://"+addr+"/?"+params, bytes.NewReader(body), header)
	return status, text, answered.Get("X-ClickHouse-Exception-Code")
}

func TestForms(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
	ext := field{"ext", "rows.tsv", "1\ta\n2\tit's\n"}
	for name, tc := range map[string]struct {
		params string
		fields []field
		want   string
		code   string
	}{
		"query":               {fields: []field{{"query", "", "SELECT 1, 'a'"}}, want: "1\ta\n"},
		"query in the URL":    {params: "query=SELECT+2", fields: []field{{"nothing_format", "", ""}, {"", "", "x"}, {"query", "", "SELECT 3"}}, code: "115"},
		"the URL wins":        {params: "query=SELECT+2", fields: []field{{"query", "", "SELECT 3"}}, want: "2\n"},
		"parameter":           {fields: []field{{"query", "", "SELECT {s:String}"}, {"param_s", "", "it's"}}, want: "it\\'s\n"},
		"settings":            {fields: []field{{"query", "", "SELECT getSetting('max_threads')"}, {"max_threads", "", "3"}, {"default_format", "", "CSV"}, {"database", "", db}}, want: "3\n"},
		"long parameter":      {fields: []field{{"query", "", "SELECT length({s:String})"}, {"param_s", "", strings.Repeat("x", 3<<20)}}, want: "3145728\n"},
		"nobody changes":      {fields: []field{{"query", "", "SELECT 1"}, {"user", "", "admin"}, {"password", "", "wrong"}}, want: "1\n"},
		"structure":           {fields: []field{{"query", "", "SELECT s FROM ext WHERE n = 2"}, ext, {"ext_structure", "", "n UInt8, s String"}}, want: "it\\'s\n"},
		"structure in URL":    {params: "ext_structure=n+UInt8,s+String&query=SELECT+sum(n)+FROM+ext", fields: []field{ext}, want: "3\n"},
		"types":               {fields: []field{{"query", "", "SELECT toTypeName(_1), toTypeName(_2) FROM ext LIMIT 1"}, ext, {"ext_types", "", "Decimal(9, 2), Nullable(String)"}}, want: "Decimal(9, 2)\tNullable(String)\n"},
		"format":              {fields: []field{{"query", "", "SELECT * FROM e"}, {"e", "x", `{"n":7}`}, {"e_format", "", "JSONEachRow"}, {"e_structure", "", "n LowCardinality(String)"}}, want: "7\n"},
		"two tables":          {fields: []field{{"query", "", "SELECT count() FROM ext JOIN e ON n = _1"}, ext, {"e", "x", "2\n"}, {"ext_structure", "", "n UInt8, s String"}, {"e_types", "", "UInt8"}}, want: "1\n"},
		"no rows":             {fields: []field{{"query", "", "SELECT count() FROM e"}, {"e", "x", ""}, {"e_types", "", "UInt8"}}, want: "0\n"},
		"odd name":            {fields: []field{{"query", "", "SELECT * FROM `a; DROP`"}, {"a; DROP", "x", "1\n"}, {"a; DROP_types", "", "UInt8"}}, want: "1\n"},
		"no structure":        {fields: []field{{"query", "", "SELECT * FROM ext"}, ext}, code: "36"},
		"hostile structure":   {fields: []field{{"query", "", "SELECT 1"}, ext, {"ext_structure", "", "n UInt8') SETTINGS a=('"}}, code: "62"},
		"hostile format":      {fields: []field{{"query", "", "SELECT 1"}, ext, {"ext_types", "", "UInt8"}, {"ext_format", "", "TSV, 'a Int8') --"}}, code: "36"},
		"file in a structure": {fields: []field{{"query", "", "SELECT 1"}, ext, {"ext_structure", "", "n UInt8 DEFAULT file('x')"}}, code: "497"},
		"file in a parameter": {fields: []field{{"query", "", "SELECT * FROM {f:Identifier}"}, {"param_f", "", "/etc/passwd"}}, code: "497"},
		"file in a setting":   {fields: []field{{"query", "", "SELECT 1"}, {"format_schema", "", "/etc/passwd"}}, code: "497"},
		"query of a file":     {fields: []field{{"query", "", "SELECT * FROM file('/etc/passwd')"}}, code: "497"},
		"same name":           {fields: []field{{"query", "", "SELECT 1"}, {"e", "x", ""}, {"e", "x", ""}, {"e_types", "", "UInt8"}}, code: "57"},
		"no query":            {fields: []field{{"param_a", "", "1"}}, code: "62"},
		"into a table":        {fields: []field{{"query", "", "INSERT INTO " + db + ".t SELECT * FROM ext"}, ext, {"ext_structure", "", "n UInt8, s String"}}},
		"values":              {fields: []field{{"query", "", "INSERT INTO " + db + ".t VALUES (3, 'c')"}}},
		"readonly":            {params: "readonly=1", fields: []field{{"query", "", "SELECT sum(n) FROM ext"}, ext, {"ext_structure", "", "n UInt8, s String"}}, want: "3\n"},
	} {
		t.Run(name, func(t *testing.T) {
			status, text, code := postForm(t, addr, tc.params, nil, tc.fields...)
			require.Equal(t, tc.code, code, text)
			if code != "" {
				require.NotEqual(t, http.StatusOK, status)
				return
			}
			require.Equal(t, tc.want, text)
		})
	}
	require.Equal(t, "1\n2\n3\n", query(t, db, "SELECT n FROM t ORDER BY n"))

	// A GET with a form changes nothing, and what a form names a table is gone with the request.
	body, contentType := formOf(t, ext, field{"ext_structure", "", "n UInt8, s String"})
	_, text, answered := do(t, http.MethodGet, "http://"+addr+"/?query="+url.QueryEscape("INSERT INTO "+db+".t SELECT * FROM ext"), bytes.NewReader(body), http.Header{"Content-Type": {contentType}})
	require.Equal(t, "164", answered.Get("X-ClickHouse-Exception-Code"), text)
	_, text, code := postForm(t, addr, "", nil, field{"query", "", "SELECT * FROM ext"})
	require.Equal(t, "60", code, text)
	require.Equal(t, "3\n", query(t, db, "SELECT count() FROM t"))

	// What curl calls a form by default is a query.
	status, text, _ := post(t, strings.NewReader("SELECT 'a=b&c'"), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "a=b&c\n", text)
}

// A form that ends early runs nothing, compressed or not; nor does one that is too large.
func TestFormsThatAreRefused(t *testing.T) {
	db := newDatabase(t)
	query(t, db, "CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
	insert := field{"query", "", "INSERT INTO " + db + ".t VALUES (1)"}
	body, contentType := formOf(t, insert, field{"param_a", "", "1"})
	header := http.Header{"Content-Type": {contentType}}
	for cut := range 40 {
		status, text, answered := post(t, bytes.NewReader(body[:(len(body)-2)*cut/40]), header)
		require.Equal(t, http.StatusBadRequest, status, "cut %d: %q", cut, body[:(len(body)-2)*cut/40])
		require.Contains(t, []string{"33", "62"}, answered.Get("X-ClickHouse-Exception-Code"), text)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	header.Set("Content-Encoding", "gzip")
	status, _, _ := post(t, bytes.NewReader(zipped.Bytes()[:zipped.Len()/2]), header)
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, "0\n", query(t, db, "SELECT count() FROM t"))
	status, text, _ := post(t, &zipped, header)
	require.Equal(t, http.StatusOK, status, text)

	many := func(n int, filename string) []field {
		fields := []field{insert}
		for i := range n {
			fields = append(fields, field{fmt.Sprintf("param_%d", i), filename, "1"})
		}
		return fields
	}
	for name, fields := range map[string][]field{
		"fields": many(maxFields, ""), "files": many(maxTables+1, "x"), "text": {insert, {"param_a", "", strings.Repeat("x", maxQueryBytes)}},
	} {
		status, text, code := postForm(t, addr, "", nil, fields...)
		require.Equal(t, http.StatusRequestEntityTooLarge, status, "%s: %s", name, text)
		require.Equal(t, "307", code)
	}
	for _, contentType := range []string{"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"", "multipart/form-data; boundary=" + strings.Repeat("x", 100)} {
		status, text, _ := post(t, bytes.NewReader(body), http.Header{"Content-Type": {contentType}})
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", contentType, text)
	}
	require.Equal(t, "1\n", query(t, db, "SELECT count() FROM t"))
	files, err := http.Dir(engine.dir).Open("/")
	require.NoError(t, err)
	defer files.Close()
	names, err := files.Readdir(-1)
	require.NoError(t, err)
	for _, file := range names {
		require.NotContains(t, file.Name(), "insert-")
	}
}

// Who has no password may send a query as a form, of the same size, and no tables.
func TestFormsWithoutPassword(t *testing.T) {
	f := newFront(t, defaultPace, readerWait)
	status, text, _ := postForm(t, f.addr, "", nil, field{"query", "", "SELECT {a:UInt8}"}, field{"param_a", "", "7"})
	require.Equal(t, http.StatusOK, status, text)
	require.Equal(t, "7\n", text)
	for name, fields := range map[string][]field{
		"file":     {{"query", "", "SELECT 1"}, {"e", "x", "1"}, {"e_types", "", "UInt8"}},
		"setting":  {{"query", "", "SELECT 1"}, {"max_block_size", "", "1"}},
		"insert":   {{"query", "", "INSERT INTO t VALUES (1)"}},
		"password": {{"query", "", "DROP TABLE t"}, {"user", "", "default"}, {"password", "", "right"}},
	} {
		_, text, code := postForm(t, f.addr, "", nil, fields...)
		require.Equal(t, "164", code, "%s: %s", name, text)
	}
	status, _, code := postForm(t, f.addr, "", nil, field{"query", "", "SELECT 1"}, field{"param_a", "", strings.Repeat("x", maxReadingBytes)})
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Equal(t, "307", code)
	status, text, _ = postForm(t, f.addr, "", nil, field{"query", "", "SELECT 1"}, field{"param_" + strings.Repeat("x", 2*maxReadingBytes), "", "1"})
	require.Equal(t, http.StatusBadRequest, status, text)
	status, text, _ = postForm(t, f.addr, url.Values{"user": {"default"}, "password": {"right"}}.Encode(), nil,
		field{"query", "", "SELECT * FROM e"}, field{"e", "x", "5\n"}, field{"e_types", "", "UInt8"})
	require.Equal(t, http.StatusOK, status, text)
	require.Equal(t, "5\n", text)
}

func TestColumnsOf(t *testing.T) {
	for types, want := range map[string]string{
		"": "", " ": "", "UInt8": "_1 UInt8", "UInt8,String": "_1 UInt8, _2 String",
		"Tuple(a Int8, b Map(String, Int8)), Enum8('a,(' = 1)": "_1 Tuple(a Int8, b Map(String, Int8)), _2  Enum8('a,(' = 1)",
	} {
		require.Equal(t, want, columnsOf(types))
	}
}

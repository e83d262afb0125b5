package operate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// bare is a manifest as init makes it of a graph alone, with these features.
func bare(features string) []byte {
	return []byte(`name: m
version: "1"
runtime: onnx
artifact:
  file: m.onnx
  sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
features:
` + features + `outputs:
  - name: label
    type: int64
  - name: p
    type: float32
`)
}

func feature(name, typ string, more ...string) string {
	return "  - " + strings.Join(append([]string{"name: " + name, "type: " + typ}, more...), "\n    ") + "\n"
}

func data(t *testing.T, name, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(contents), 0o600))
	return path
}

// TestLearnOddData: data as they are found make a manifest that requests of their form fit, or are
// refused with what to do.
func TestLearnOddData(t *testing.T) {
	x := feature("x", "float32")
	city, known := feature("city", "string"), feature("city", "category", "categories: [Rome, Paris]")
	flag := feature("flag", "category", `categories: ["False", "True"]`)
	for name, tc := range map[string]struct {
		features string
		file     string // CSV, unless it begins with {
		options  operate.DataOptions
		served   bool
		want     string // in the manifest's features or target, as Go prints them, or in what to look at
		fault    string // in the error
	}{
		"byte order mark, carriage returns": {features: x, file: "\xef\xbb\xbfx\r\n1.5\r\n2\r\n", want: "x float32"},
		"newlines in quotes":                {features: city, file: "city\n\"Ro\nme\"\nParis\n", want: `city category [Paris Ro` + "\n" + `me]`},
		"a name twice":                      {features: x, file: "x,x\n1,2\n", fault: `columns 1 and 2 are both called "x": rename one of them`},
		"an index column":                   {features: x, file: ",x\n0,1\n1,2\n", want: "x float32"},
		"a space in a name":                 {features: x + city, file: "city, x\n1,2\n", fault: `has no column "x" of the model's features; it has "city", " x": rename`},
		"no values":                         {features: x, file: "x,y\n,1\n,2\n", want: `column "x" has no value in any row`},
		"a constant":                        {features: x, file: "x\n1\n1\n", want: "x float32"},
		"an infinity":                       {features: x, file: "x\n1\ninf\n2\n", want: `1 rows of column "x" hold an infinity`},
		"a word among numbers":              {features: x, file: "x\n1\n2\n?\n", fault: `column "x": it holds numbers, which are text because of "?" (--na 'default,?' takes it for missing)`},
		"that word, missing":                {features: x, file: "x\n1\n2\n?\n", options: operate.DataOptions{Reading: operate.Reading{Types: []string{"x=float"}}}, want: "x float32 optional"},
		"commas for points":                 {features: x, file: "x;y\n\"1,5\";1\n2,5;2\n", options: operate.DataOptions{Reading: operate.Reading{Delimiter: operate.Sided{";"}}}, fault: `it holds numbers, which are text because of "1,5" (--decimal , reads it)`},
		"separators of thousands":           {features: x, file: "x,y\n\"1,250.50\",1\n\"2,000\",2\n", fault: `it holds numbers, which are text because of "1,250.50" (--thousands , reads it)`},
		"digits as text":                    {features: x, file: `{"x":"1"}` + "\n" + `{"x":"2"}`, fault: `it holds text, "1", "2" among it: --type x=float`},
		"text for numbers":                  {features: x, file: "x\nlow\nhigh\n", want: "x category [high low]"},
		"text for bools":                    {features: feature("x", "bool"), file: "x\nyes\nno\n", fault: "it holds text (yes, no), and feature x is true or false: write it as true and false"},
		"times for numbers":                 {features: x, file: "x\n2024-01-01\n2024-01-02\n", fault: "it holds times, which no graph takes"},
		"whole numbers that are missing":    {features: feature("x", "int64"), file: "x\n1\n\"\"\n", fault: "1 rows have no value, and a int64 has none for absent: fill the rows; or run `millrace init` without --data"},
		"--optional of whole numbers":       {features: feature("x", "int64"), file: "x\n1\n2\n", options: operate.DataOptions{Optional: []string{"x"}}, fault: "--optional names it, and a int64 has none"},
		"--optional of a served version":    {features: x, file: "x\n1\n2\n", options: operate.DataOptions{Optional: []string{"x"}}, served: true, fault: "--optional is of new versions: under feature x of this one's manifest write optional: true"},
		"missing of a served version":       {features: x, file: "x\n1\n\"\"\n", served: true, fault: "1 rows have no value, and feature x must have one"},
		"bools for numbers":                 {features: x, file: "x\ntrue\nfalse\n", want: "x bool"},
		"bools that are missing":            {features: x, file: "x,y\ntrue,1\n,2\n", want: "requests send 1, 0 or null, and not true"},
		"bools, --optional":                 {features: x, file: "x\ntrue\nfalse\n", options: operate.DataOptions{Optional: []string{"x"}}, want: "x float32 optional"},
		"bools for text":                    {features: city, file: "city\nTrue\nFalse\n", want: "city category [false true]"},
		"bools for categories":              {features: flag, file: "flag\ntrue\nfalse\n", want: `taken for "True" and "False", and requests send that text`},
		"numbers for text":                  {features: city, file: "city\n9007199254740993\n7\n7\n", want: "city category [7 9007199254740993]"},
		"fractions for text":                {features: city, file: "city\n1.0\n\n", fault: "say how they are written, by --type city=int or --type city=text"},
		"those as whole numbers":            {features: city, file: "city\n1.0\n7.0\n7.0\n", options: operate.DataOptions{Reading: operate.Reading{Types: []string{"city=int"}}}, want: "city category [7 1]"},
		"other categories":                  {features: known, file: "city\nrome\nparis\n", fault: `it holds "rome", "paris", and none of it is a category of feature city, which has "Rome", "Paris"`},
		"a category more":                   {features: known, file: "city\nRome\nOslo\nOslo\n", want: `2 rows have a value of feature city that is none of its categories: "Oslo"`},
		"not UTF-8":                         {features: city, file: "city\nZ\xfcrich\n", fault: "line 2 is not UTF-8: the byte 0xfc is none of it; say what the file is by --encoding, such as windows-1252"},
		"another encoding":                  {features: city, file: "city\nZ\xfcrich\n", options: operate.DataOptions{Reading: operate.Reading{Encoding: operate.Sided{"latin1"}}}, want: "city category [Zürich]"},
		"a decimal comma":                   {features: x, file: "x;y\n1,5;1\n2,5;2\n", options: operate.DataOptions{Reading: operate.Reading{Delimiter: operate.Sided{";"}, Decimal: operate.Sided{","}}}, want: "x float32"},
		"a word that is missing":            {features: city, file: "city,y\nNA,1\nRome,2\n", want: `1 value is read as missing, such as "NA", which text may mean: --na= keeps such words`},
		"a word that is not":                {features: city, file: "city,y\nNA,1\nRome,2\n", options: operate.DataOptions{Reading: operate.Reading{NA: []string{}}}, want: "city category [NA Rome]"},
		"an index beside unnamed features":  {features: feature("f0", "float32") + feature("f1", "float32"), file: ",a,b\n0,1,2\n1,3,4\n", want: "a float32"},
		"codes with zeros":                  {features: city, file: "city\n0870\n870\n", want: "city category [0870 870]"},
		"zeros before numbers":              {features: x, file: "x\n007\n12\n", fault: `it holds numbers, which are text because of "007" (--type x=int reads it as a number)`},
		"a nested column":                   {features: x, file: `{"x":1,"tags":[1,2]}` + "\n" + `{"x":2,"tags":[]}`, want: "x float32"},
		"a nested feature":                  {features: x, file: `{"x":[1,2]}` + "\n" + `{"x":[]}`, fault: `column "x" holds lists or structures: write the values that are meant into columns of their own`},
		"a nested label":                    {features: x, file: `{"x":1,"y":[1]}` + "\n" + `{"x":2}`, options: operate.DataOptions{Label: "y"}, fault: `column "y" holds lists or structures`},
		"nothing":                           {features: x, file: "", fault: "it is empty"},
		"no rows":                           {features: x, file: "x\n", fault: "it has no rows"},
		"an id as a feature":                {features: feature("f0", "float32") + feature("f1", "float32"), file: "request_id,x\n1,2\n", fault: `column "request_id" would be a feature, and is the id of a request: leave it out by --ignore`},
		"names that are alike":              {features: feature("f0", "float32") + feature("f1", "float32") + feature("f2", "float32"), file: "a b,a_b,at!,at\n1,2,3,2024-01-01\n", options: operate.DataOptions{Time: "at"}, want: "a_b_2 float32 source a b\na_b float32\nat_2 float32 source at!"},
		"the time as a feature":             {features: x, file: "x\n1\n2\n", options: operate.DataOptions{Time: "x"}, fault: `--time: column "x" is a feature too`},

		"labels yes and no":              {features: x, file: "x,y\n1,yes\n2,no\n", options: operate.DataOptions{Label: "y"}, fault: "it holds yes and no: say which is positive by --positive"},
		"labels yes and no, positive":    {features: x, file: "x,y\n1,yes\n2,no\n", options: operate.DataOptions{Label: "y", Positive: "yes"}, want: "binary p positive yes"},
		"labels that are floats":         {features: x, file: "x,y\n1,0.0\n2,1.0\n", options: operate.DataOptions{Label: "y"}, want: "binary p above 0"},
		"labels true and false":          {features: x, file: "x,y\n1,True\n2,False\n", options: operate.DataOptions{Label: "y"}, want: "binary p above 0"},
		"labels 1 and 2":                 {features: x, file: "x,y\n1,1\n2,2\n", options: operate.DataOptions{Label: "y"}, want: "binary p above 1.5"},
		"labels that are missing":        {features: x, file: "x,y\n1,\n2,1\n3,0\n", options: operate.DataOptions{Label: "y"}, want: "binary p above 0"},
		"no label":                       {features: x, file: "x,y\n1,\n2,\n", options: operate.DataOptions{Label: "y"}, fault: "no row has a label"},
		"one label":                      {features: x, file: "x,y\n1,0\n2,0\n", options: operate.DataOptions{Label: "y"}, fault: "all labels are the same"},
		"labels that are digits as text": {features: x, file: `{"x":1,"y":"1"}` + "\n" + `{"x":2,"y":"0"}`, options: operate.DataOptions{Label: "y"}, fault: "it holds numbers written as text: read them by --type y=int"},
		"a positive that is a number":    {features: x, file: `{"x":1,"y":"1"}` + "\n" + `{"x":2,"y":"0"}`, options: operate.DataOptions{Label: "y", Positive: "1"}, fault: "it holds numbers written as text: read them by --type y=int"},
		"labels of classes":              {features: x, file: "x,y\n1,0.0\n2,1.0\n3,2.0\n", options: operate.DataOptions{Label: "y"}, want: "multiclass label"},
		"labels of a regression":         {features: x, file: "x,y\n1,0.5\n2,1.5\n", options: operate.DataOptions{Label: "y"}, want: "regression p"},
		"times for labels":               {features: x, file: "x,y\n1,2024-01-01\n2,2024-01-02\n", options: operate.DataOptions{Label: "y"}, fault: "it holds times"},
		"the label as a feature":         {features: x, file: "x\n1\n2\n3.5\n", options: operate.DataOptions{Label: "x"}, want: `column "x" is the label and a feature`},
	} {
		t.Run(name, func(t *testing.T) {
			file := "rows.csv"
			if strings.HasPrefix(tc.file, "{") {
				file = "rows.jsonl"
			}
			tc.options.Path = data(t, file, tc.file)
			require.NoError(t, tc.options.Validate())
			m, _, look, err := operate.Learn(t.Context(), bare(tc.features), tc.options, tc.served)
			if tc.fault != "" {
				require.ErrorContains(t, err, tc.fault)
				return
			}
			require.NoError(t, err)
			require.Contains(t, described(m)+strings.Join(look, "\n"), tc.want)
		})
	}
}

// described writes what data say of a manifest.
func described(m *schemas.Manifest) string {
	var text strings.Builder
	for _, f := range m.Features {
		fmt.Fprintf(&text, "%s %s", f.Name, f.Type)
		if len(f.Categories) > 0 {
			fmt.Fprintf(&text, " %v", f.Categories)
		}
		if f.Optional {
			text.WriteString(" optional")
		}
		if f.Source != "" {
			text.WriteString(" source " + f.Source)
		}
		text.WriteString("\n")
	}
	if t := m.Target; t != nil {
		fmt.Fprintf(&text, "%s %s", t.Kind, t.Score)
		switch {
		case t.Positive != "":
			text.WriteString(" positive " + t.Positive)
		case t.Kind == schemas.TargetBinary:
			fmt.Fprintf(&text, " above %v", t.PositiveAbove)
		}
	}
	return text.String()
}

// TestLearnedTimesAreAccepted: requests with a time as the data write it are accepted, and are of the
// time that the row was taken for.
func TestLearnedTimesAreAccepted(t *testing.T) {
	arrowTimes := func(typ arrow.DataType) string {
		times, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(`["2024-05-01 06:07:08", "2024-05-02 06:07:08"]`))
		require.NoError(t, err)
		xs, _, err := array.FromJSON(memory.DefaultAllocator, arrow.PrimitiveTypes.Float32, strings.NewReader(`[1, 2]`))
		require.NoError(t, err)
		schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: xs.DataType()}, {Name: "at", Type: typ}}, nil)
		path := filepath.Join(t.TempDir(), "rows.arrow")
		file, err := os.Create(path)
		require.NoError(t, err)
		w, err := ipc.NewFileWriter(file, ipc.WithSchema(schema))
		require.NoError(t, err)
		require.NoError(t, w.Write(array.NewRecord(schema, []arrow.Array{xs, times}, 2)))
		require.NoError(t, w.Close())
		require.NoError(t, file.Close())
		return path
	}
	csv := func(first, second string) string { return data(t, "rows.csv", "x,at\n1,"+first+"\n2,"+second+"\n") }
	at := time.Date(2024, 5, 1, 6, 7, 8, 0, time.UTC)
	for name, tc := range map[string]struct {
		path    string
		request string // as JSON, of the first row
		zone    string
		want    time.Time
		types   []string
	}{
		"RFC 3339":            {path: csv("2024-05-01T06:07:08Z", "2024-05-02T06:07:08Z"), request: `"2024-05-01T06:07:08Z"`, want: at},
		"offset":              {path: csv("2024-05-01 08:07:08+02:00", "2024-05-02 08:07:08+02:00"), request: `"2024-05-01 08:07:08+02:00"`, want: at},
		"no zone":             {path: csv("2024-05-01T06:07:08", "2024-05-02T06:07:08"), request: `"2024-05-01T06:07:08"`, zone: "UTC", want: at},
		"str() of Python":     {path: csv("2024-05-01 06:07:08.5", "2024-05-02 06:07:08.5"), request: `"2024-05-01 06:07:08.5"`, zone: "UTC", want: at.Add(time.Second / 2)},
		"minutes":             {path: csv("2024-05-01 06:07", "2024-05-02 06:07"), request: `"2024-05-01 06:07"`, zone: "UTC", want: at.Add(-8 * time.Second)},
		"dates":               {path: csv("2024-05-01", "2024-05-02"), request: `"2024-05-01"`, zone: "UTC", want: at.Truncate(24 * time.Hour)},
		"both":                {path: csv("2024-05-01T06:07:08", "2024-05-02T06:07:08Z"), request: `"2024-05-01T06:07:08"`, zone: "UTC", want: at},
		"text":                {path: csv("2024-05-01T06:07:08", "2024-05-02T06:07:08"), types: []string{"at=text"}, request: `"2024-05-01T06:07:08"`, zone: "UTC", want: at},
		"text with a zone":    {path: csv("2024-05-01T06:07:08Z", "2024-05-02T06:07:08Z"), types: []string{"at=text"}, request: `"2024-05-01T06:07:08Z"`, want: at},
		"seconds":             {path: csv("1714543628.5", "1714543629"), request: `1714543628.5`, want: at.Add(time.Second / 2)},
		"milliseconds":        {path: csv("1714543628000", "1714543629000"), request: `1714543628000`, want: at},
		"float milliseconds":  {path: csv("1714543628000.0", "1714543629000.0"), request: `1714543628000.0`, want: at},
		"microseconds":        {path: csv("1714543628000001", "1714543629000000"), request: `1714543628000001`, want: at.Add(time.Microsecond)},
		"Arrow":               {path: arrowTimes(arrow.FixedWidthTypes.Timestamp_ns), request: `"2024-05-01T06:07:08Z"`, want: at},
		"Arrow without zones": {path: arrowTimes(&arrow.TimestampType{Unit: arrow.Millisecond}), request: `"2024-05-01 06:07:08"`, zone: "UTC", want: at},
	} {
		t.Run(name, func(t *testing.T) {
			m, times, look, err := operate.Learn(t.Context(), bare(feature("x", "float32")), operate.DataOptions{Path: tc.path, Time: "at", Reading: operate.Reading{Types: tc.types}}, false)
			require.NoError(t, err)
			require.Equal(t, tc.zone, m.EventTime.Zone)
			require.Equal(t, tc.zone != "", strings.Contains(strings.Join(look, "\n"), "say no zone: they are taken for UTC"))
			require.Equal(t, tc.want, time.UnixMicro(times[0]).UTC())
			d, err := codec.NewDecoder(m, memory.NewGoAllocator())
			require.NoError(t, err)
			defer d.Release()
			require.Nil(t, d.Append(&schemas.Record{Value: []byte(`{"x":1,"at":` + tc.request + `}`)}))
			batch := d.NewBatch()
			defer batch.Release()
			got := batch.Column(batch.Schema().FieldIndices(schemas.ColumnEventTime)[0]).(*array.Timestamp).Value(0)
			require.Equal(t, tc.want, time.UnixMicro(int64(got)).UTC())
		})
	}
	for text, fault := range map[string]string{
		"1714543628000000000": "is beyond microseconds since 1970: requests send seconds, milliseconds or microseconds", "1714543628000.5": "it holds fractions of a unix_ms: round them",
		"soon": `"soon" is not written as 2001-01-31T06:07:08Z`, "": "1 rows have none",
	} {
		_, _, _, err := operate.Learn(t.Context(), bare(feature("x", "float32")), operate.DataOptions{Path: csv(text, "1714543628000"), Time: "at"}, false)
		require.ErrorContains(t, err, fault)
	}
}

// TestTimesOfAServedVersion: local times are of the manifest's zone; without one, that requests like
// them are refused is said.
func TestTimesOfAServedVersion(t *testing.T) {
	o := operate.DataOptions{Path: data(t, "rows.csv", "x,at\n1,2024-07-01 02:00:00\n2,2024-07-02 00:00:00\n"), Time: "at"}
	text := string(bare(feature("x", "float32")))
	for event, tc := range map[string]struct{ want, look string }{
		"event_time: {field: at, zone: Europe/Berlin}\n": {"2024-07-01T00:00:00Z", ""},
		"event_time: {field: at}\n":                      {"2024-07-01T02:00:00Z", "requests with such times become dead letters"},
		"event_time: {field: at, format: unix_s}\n":      {"2024-07-01T02:00:00Z", ""},
		"": {"2024-07-01T02:00:00Z", "takes the time of Kafka"},
	} {
		_, times, look, err := operate.Learn(t.Context(), []byte(text+event), o, true)
		require.NoError(t, err)
		require.Equal(t, tc.want, time.UnixMicro(times[0]).UTC().Format(time.RFC3339), event)
		require.Contains(t, strings.Join(look, "\n"), tc.look, event)
	}
}

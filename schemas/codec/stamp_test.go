package codec

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func planned(t *testing.T, extra string) *Decoder {
	t.Helper()
	m, err := schemas.ParseManifest("test", []byte(`name: m
version: "1"
runtime: onnx
artifact: {file: m.onnx, sha256: 0000000000000000000000000000000000000000000000000000000000000000}
features:
  - {name: x, type: float64, optional: true}
outputs:
  - {name: y, type: float32}
`+extra))
	require.NoError(t, err)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(t, err)
	t.Cleanup(d.Release)
	return d
}

// eventTime returns the event time that a request has, or why it is refused.
func eventTime(t *testing.T, d *Decoder, text string) (string, string) {
	t.Helper()
	if err := d.Append(&schemas.Record{Value: []byte(`{"at":"` + text + `"}`)}); err != nil {
		return "", err.Reason
	}
	batch := d.NewBatch()
	defer batch.Release()
	us := batch.Column(batch.Schema().FieldIndices(schemas.ColumnEventTime)[0]).(*array.Timestamp).Value(0)
	return time.UnixMicro(int64(us)).UTC().Format(time.RFC3339Nano), ""
}

func TestEventTimesInAZone(t *testing.T) {
	d := planned(t, "event_time: {field: at, zone: Europe/Berlin}\n")
	for text, want := range map[string]string{
		"2024-01-02T03:04:05":           "2024-01-02T02:04:05Z",
		"2024-07-02 03:04:05":           "2024-07-02T01:04:05Z", // str() of Python's datetime and of pandas' Timestamp
		"2024-07-02T03:04:05.123456789": "2024-07-02T01:04:05.123456Z",
		"2024-07-02T03:04:05Z":          "2024-07-02T03:04:05Z",
		"2024-07-02T03:04:05+0000":      "2024-07-02T03:04:05Z",
		"2024-07-02 03:04:05-05:30":     "2024-07-02T08:34:05Z",
		"2024-07-02 03:04:05+02":        "2024-07-02T01:04:05Z",
		"1950-01-01T00:00:00":           "1949-12-31T23:00:00Z",
		"2024-10-27T02:30:00":           "2024-10-27T00:30:00Z", // shown twice: the first
		"2024-10-27T03:00:00":           "2024-10-27T02:00:00Z",
		"2024-03-31T02:30:00":           "2024-03-31T01:30:00Z", // left out: by the offset before
		"2024-03-31T03:00:00":           "2024-03-31T01:00:00Z",
		"2024-07-02":                    "2024-07-01T22:00:00Z", // str() of a date
		"2024-07-02 03:04":              "2024-07-02T01:04:00Z",
		"2024-07-02T03:04Z":             "2024-07-02T03:04:00Z",
		"2024-07-02t03:04:05z":          "2024-07-02T03:04:05Z",
		"2024-07-02 03:04+0530":         "2024-07-01T21:34:00Z",

		// What other languages write by default.
		"2024-07-02T03:04+02:00":                  "2024-07-02T01:04:00Z",
		"2024-07-02T03:04":                        "2024-07-02T01:04:00Z", // Java's LocalDateTime
		"2024-07-02T03:04:05-04:00[Europe/Paris]": "2024-07-02T07:04:05Z", // Java's ZonedDateTime, and RFC 9557: the offset counts
		"2024-07-02T03:04Z[UTC]":                  "2024-07-02T03:04:00Z",
		"2024-07-02 03:04:05 +0000":               "2024-07-02T03:04:05Z", // Ruby's Time
		"2024-07-02 03:04:05 UTC":                 "2024-07-02T03:04:05Z", // Ruby's Time, Rust's chrono
		"2024-07-02 03:04:05.5 UTC":               "2024-07-02T03:04:05.5Z",
	} {
		got, fault := eventTime(t, d, text)
		require.Empty(t, fault, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "2024-01-0", "2024-02-30", "2024-01-02Z", "2024-01-02T03:04:0", "2024-02-30T00:00:00", "2024-01-02T24:00:00", "2024-01-02T03:04:05.", "2024-01-02T03:04:05+1", "2024-01-02T03:04:05+24:00", "2024-01-02T03:04:05 ", "2024-01-02T03:04:05  Z", "x024-01-02T03:04:05",
		"2024-01-02T03", "2024-01-02T03:4", "2024-01-02T03:04:", "2024-01-02T03:04.5Z", "2024-01-02T03:04:05[UTC]", "2024-01-02T03:04:05Z[UTC", "2024-01-02T03:04:05 CET", "2024-01-02T03:04:05[", "2024-01-02T03:04:05 +0000 UTC",
	} {
		_, fault := eventTime(t, d, text)
		require.Contains(t, fault, "RFC 3339", text)
	}
	offset := planned(t, "event_time: {field: at, zone: '+0530'}\n")
	got, _ := eventTime(t, offset, "2024-01-02T03:04:05")
	require.Equal(t, "2024-01-01T21:34:05Z", got)
	for _, local := range []string{"2024-01-02T03:04:05", "2024-01-02", "2024-01-02 03:04"} {
		_, fault := eventTime(t, planned(t, "event_time: {field: at}\n"), local)
		require.Contains(t, fault, "event_time.zone of the manifest")
	}
}

// Every time that Go writes in a zone is read as what it was, but for the second showing of an hour.
func TestLocalTimesAreReadBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "America/Sao_Paulo", "UTC"} {
		loc, err := time.LoadLocation(name)
		require.NoError(t, err)
		z := zone{loc: loc}
		const from, span = -2_000_000_000, 6_000_000_000
		for range 20_000 {
			at := time.Unix(from+rnd.Int64N(span), rnd.Int64N(1e9)).In(loc)
			text := at.Format("2006-01-02T15:04:05.999999999")
			us, ok := z.parse([]byte(text))
			require.True(t, ok, text)
			got := time.UnixMicro(us).In(loc)
			require.Equal(t, at.Truncate(time.Microsecond).Format("2006-01-02T15:04:05.999999"), got.Format("2006-01-02T15:04:05.999999"), name)
			require.False(t, got.After(at), "%s: the first showing", name)
			zoned := at.Format(time.RFC3339Nano)
			if _, seconds := at.Zone(); seconds%60 == 0 {
				us, ok = z.parse([]byte(zoned))
				require.True(t, ok, zoned)
				require.Equal(t, at.UnixMicro(), us, zoned)
			}
		}
	}
}

func TestParsingTimesAllocatesNothing(t *testing.T) {
	loc, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	z := zone{loc: loc}
	texts := [][]byte{[]byte("2024-07-02 03:04:05.123"), []byte("2024-10-27T02:30:00"), []byte("2024-07-02T03:04:05+02:00")}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, text := range texts {
			z.parse(text)
		}
	}))
}

// What Python writes for numbers that JSON does not have is null where the manifest says so, else the
// reason says what to send.
func TestNumbersThatJSONDoesNotHave(t *testing.T) {
	strict, lax := planned(t, ""), planned(t, "non_finite: missing\n")
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		for _, key := range []string{"x", "other"} {
			rec := &schemas.Record{Value: []byte(`{"` + key + `": ` + word + ` }`)}
			fault := strict.Append(rec)
			require.NotNil(t, fault)
			require.Equal(t, schemas.ErrorClassMalformed, fault.Class)
			require.Equal(t, `"`+key+`" is `+word+`, which JSON does not have: send null (or set non_finite: missing in the manifest)`, fault.Reason)
			require.Nil(t, lax.Append(rec))
		}
	}
	batch := lax.NewBatch()
	defer batch.Release()
	require.EqualValues(t, 6, batch.Column(0).NullN())
	for _, bad := range []string{`{"x":Nan}`, `{"x":-Inf}`, `{"x":NaNa}`, `{"x":Infi`, `{"x":I`, `{"x":-I`} {
		require.NotNil(t, lax.Append(&schemas.Record{Value: []byte(bad)}), bad)
	}
}

// What stands nested where nobody asks for it costs nothing but the reading.
func TestSkippingAllocatesNothing(t *testing.T) {
	d := planned(t, "")
	rec := &schemas.Record{Value: []byte(`{"context":{"ids":[1,2,[{"a":"b"}]],"more":{}},"x":1,"list":[]}`)}
	d.Reserve(1000)
	require.Nil(t, d.Append(rec))
	refused := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if d.Append(rec) != nil {
			refused++
		}
	}))
	require.Zero(t, refused)
}

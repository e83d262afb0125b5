package flights_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/demo/flights"
)

// flight is one row of the data.
type flight struct {
	departure           time.Time
	delay, distance     int64
	origin, destination string
}

func (f flight) landing() time.Time {
	return f.departure.Add(time.Duration(40+2*f.distance/15) * time.Minute)
}

// writeFlights writes rows with the types and the compression of the data, in several row groups.
func writeFlights(t *testing.T, rows []flight, nulls bool) string {
	t.Helper()
	type row struct {
		Date        time.Time `parquet:"date,timestamp(microsecond)"`
		Delay       *int64    `parquet:"delay"`
		Distance    *int64    `parquet:"distance"`
		Origin      *string   `parquet:"origin,dict"`
		Destination *string   `parquet:"destination,dict"`
	}
	path := filepath.Join(t.TempDir(), "flights.parquet")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := parquet.NewGenericWriter[row](f, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(max(3, int64(len(rows)/3))))
	for _, r := range rows {
		written := row{r.departure, &r.delay, &r.distance, &r.origin, &r.destination}
		if nulls {
			written.Destination = nil
		}
		_, err = w.Write([]row{written})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	return path
}

// request is the JSON of one request.
type request struct {
	RequestID           string  `json:"request_id"`
	Departure           int64   `json:"departure"`
	Origin              string  `json:"origin"`
	Destination         string  `json:"destination"`
	Distance            int32   `json:"distance"`
	Hour                float32 `json:"hour"`
	DayOfWeek           int32   `json:"day_of_week"`
	NetworkDelay        float32 `json:"network_delay"`
	OriginDelay         float32 `json:"origin_delay"`
	InboundDelay        float32 `json:"inbound_delay"`
	DestinationDelay    float32 `json:"destination_delay"`
	InboundLandings     int32   `json:"inbound_landings"`
	DestinationLandings int32   `json:"destination_landings"`
}

func decode(t *testing.T, value []byte) request {
	t.Helper()
	var r request
	dec := json.NewDecoder(strings.NewReader(string(value)))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&r), "%s", value)
	return r
}

// keys returns the keys of a flat JSON object.
func keys(t *testing.T, value []byte) []string {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal(value, &object))
	return slices.Collect(maps.Keys(object))
}

func at(clock string) time.Time {
	v, err := time.Parse("2006-01-02 15:04", clock)
	if err != nil {
		panic(err)
	}
	return v
}

func TestSourceTellsTheStoryInOrder(t *testing.T) {
	// Not in order of departure: the source sorts, and equal departures keep their order.
	path := writeFlights(t, []flight{
		{at("2001-01-01 09:00"), -4, 606, "ORD", "ATL"},
		{at("2001-01-01 06:10"), 23, 75, "ATL", "ORD"}, // lands at 07:00
		{at("2001-01-01 07:00"), 400, 150, "ORD", "ATL"},
		{at("2001-01-01 06:10"), 8, 80, "SFO", "ORD"}, // lands at 07:00 too
	}, false)
	s, err := flights.Open(path, 0)
	require.NoError(t, err)
	require.Equal(t, 4, s.Flights())

	var got []string
	var e flights.Event
	for dst, ok := s.Next(nil, &e); ok; dst, ok = s.Next(dst, &e) {
		got = append(got, fmt.Sprintf("%s %s %s", time.UnixMilli(e.Time).UTC().Format("15:04"), e.Key, e.Value))
	}
	require.Equal(t, []string{
		`06:10 f0000000 {"request_id":"f0000000","departure":978329400000,"origin":"ATL","destination":"ORD","distance":75,"hour":6.1666665,"day_of_week":1,"network_delay":0,"origin_delay":0,"inbound_delay":0,"destination_delay":0,"inbound_landings":0,"destination_landings":0}`,
		`06:10 f0000001 {"request_id":"f0000001","departure":978329400000,"origin":"SFO","destination":"ORD","distance":80,"hour":6.1666665,"day_of_week":1,"network_delay":0,"origin_delay":0,"inbound_delay":0,"destination_delay":0,"inbound_landings":0,"destination_landings":0}`,
		`07:00 f0000000 {"request_id":"f0000000","model":"flights_delay","label":23,"observed_at":978332400000}`,
		`07:00 f0000001 {"request_id":"f0000001","model":"flights_delay","label":8,"observed_at":978332400000}`,
		// A landing in the minute of the departure is known. Network (23+8)/2; ORD saw
		// both land, (31+5*15.5)/7; nothing has left ORD or landed at ATL.
		`07:00 f0000002 {"request_id":"f0000002","departure":978332400000,"origin":"ORD","destination":"ATL","distance":150,"hour":7,"day_of_week":1,"network_delay":15.5,"origin_delay":15.5,"inbound_delay":15.5,"destination_delay":15.5,"inbound_landings":2,"destination_landings":0}`,
		`08:00 f0000002 {"request_id":"f0000002","model":"flights_delay","label":400,"observed_at":978336000000}`,
		// After two hours the first landings are forgotten; 400 minutes count as 180.
		`09:00 f0000003 {"request_id":"f0000003","departure":978339600000,"origin":"ORD","destination":"ATL","distance":606,"hour":9,"day_of_week":1,"network_delay":180,"origin_delay":180,"inbound_delay":180,"destination_delay":180,"inbound_landings":0,"destination_landings":1}`,
		`11:00 f0000003 {"request_id":"f0000003","model":"flights_delay","label":-4,"observed_at":978346800000}`,
	}, got)

	_, ok := s.Next(nil, &e)
	require.False(t, ok, "the replay is over")
	s.Reset()
	_, ok = s.Next(nil, &e)
	require.True(t, ok)
	require.Equal(t, "f0000000", string(e.Key))
}

func TestSourceAgreesWithANaiveComputation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	airports := []string{"ATL", "ORD", "LAX", "JFK", "X1"}
	rows := make([]flight, 800)
	for i := range rows {
		rows[i] = flight{
			departure: at("2001-03-04 00:00").Add(time.Duration(rng.IntN(2*24*60)) * time.Minute),
			delay:     int64(rng.IntN(300) - 80), distance: int64(rng.IntN(900)),
			origin: airports[rng.IntN(len(airports))], destination: airports[rng.IntN(len(airports))],
		}
	}
	slices.SortStableFunc(rows, func(a, b flight) int { return a.departure.Compare(b.departure) })
	limit := 500
	s, err := flights.Open(writeFlights(t, rows, false), limit)
	require.NoError(t, err)
	require.Equal(t, limit, s.Flights())

	var e flights.Event
	var last int64
	requests, labels := 0, 0
	for dst, ok := s.Next(nil, &e); ok; dst, ok = s.Next(dst[:0], &e) {
		require.GreaterOrEqual(t, e.Time, last)
		last = e.Time
		require.Equal(t, fmt.Sprintf("f%07d", e.Flight), string(e.Key))
		if e.Kind == flights.KindLabel {
			labels++
			require.Equal(t, rows[e.Flight].landing().UnixMilli(), e.Time)
			continue
		}
		require.Equal(t, requests, e.Flight)
		requests++
		require.Equal(t, naive(rows[:limit], e.Flight), decode(t, e.Value))
	}
	require.Equal(t, limit, requests)
	require.Equal(t, limit, labels)
}

// naive computes a request by looking at every flight.
func naive(rows []flight, i int) request {
	f := rows[i]
	sums := func(minutes int, match func(flight) bool) (sum, n float64) {
		for _, r := range rows {
			past := f.departure.Sub(r.landing())
			if past >= 0 && past < time.Duration(minutes)*time.Minute && match(r) {
				sum += float64(min(max(r.delay, -60), 180))
				n++
			}
		}
		return sum, n
	}
	round := func(x float64) float32 { return float32(math.Floor(8*x+0.5) / 8) }
	network, n := sums(120, func(flight) bool { return true })
	network /= max(n, 1)
	shrunk := func(sum, n float64) float32 { return round((sum + 5*network) / (n + 5)) }
	inboundSum, inbound := sums(120, func(r flight) bool { return r.destination == f.origin })
	arrivalsSum, arrivals := sums(120, func(r flight) bool { return r.destination == f.destination })
	return request{
		RequestID: fmt.Sprintf("f%07d", i), Departure: f.departure.UnixMilli(),
		Origin: f.origin, Destination: f.destination, Distance: int32(f.distance),
		Hour:                float32(float64(f.departure.Hour()*60+f.departure.Minute()) / 60),
		DayOfWeek:           int32(f.departure.Weekday()+6)%7 + 1,
		NetworkDelay:        round(network),
		OriginDelay:         shrunk(sums(180, func(r flight) bool { return r.origin == f.origin })),
		InboundDelay:        shrunk(inboundSum, inbound),
		DestinationDelay:    shrunk(arrivalsSum, arrivals),
		InboundLandings:     int32(inbound),
		DestinationLandings: int32(arrivals),
	}
}

func TestOpenRefuses(t *testing.T) {
	row := flight{at("2001-01-01 00:00"), 1, 100, "ATL", "ORD"}
	change := func(f func(*flight)) []flight { r := row; f(&r); return []flight{row, r} }
	for name, tc := range map[string]struct {
		rows  []flight
		nulls bool
		limit int
		want  string
	}{
		"limit":     {[]flight{row}, false, -1, "limit must be at least 0, got -1"},
		"empty":     {nil, false, 0, "it has no rows"},
		"nulls":     {[]flight{row}, true, 0, `column "destination": 1 nulls, want none`},
		"seconds":   {change(func(f *flight) { f.departure = f.departure.Add(time.Second) }), false, 0, "is no whole minute since 1970"},
		"quotes":    {change(func(f *flight) { f.origin = `A"B` }), false, 0, `column "origin": "A\"B" is no airport code`},
		"too far":   {change(func(f *flight) { f.distance = 40_000 }), false, 0, `column "distance": value 40000 does not fit 16 bits`},
		"backwards": {change(func(f *flight) { f.distance = -1 }), false, 0, "a flight of -1 miles"},
		"too long":  {change(func(f *flight) { f.departure = f.departure.AddDate(20, 0, 0) }), false, 0, "want at most ten years"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := flights.Open(writeFlights(t, tc.rows, tc.nulls), tc.limit)
			require.ErrorContains(t, err, tc.want)
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := flights.Open(filepath.Join(t.TempDir(), "none.parquet"), 0)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorContains(t, err, "make native")
	})
	t.Run("not parquet", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f.parquet")
		require.NoError(t, os.WriteFile(path, []byte("PAR1 but nothing else PAR1"), 0o600))
		_, err := flights.Open(path, 0)
		require.Error(t, err)
	})
}

func TestNextDoesNotAllocate(t *testing.T) {
	s, err := flights.Open(data(t), 200_000)
	require.NoError(t, err)
	var e flights.Event
	buf := make([]byte, 0, flights.MaxEventBytes)
	longest := 0
	for range 100_000 { // the windows' rings have grown
		dst, ok := s.Next(buf, &e)
		require.True(t, ok)
		longest = max(longest, len(dst))
	}
	require.Less(t, longest, flights.MaxEventBytes)
	if n := testing.AllocsPerRun(100_000, func() { s.Next(buf, &e) }); n != 0 {
		t.Errorf("%v allocations per event, want 0", n)
	}
}

// data returns the path of the real flights, or skips.
func data(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join("..", "..", "..", "deploy", "native", "node_modules", flights.File)
	if _, err := os.Stat(path); err != nil {
		tb.Skip("the flights are not installed: run `make native`")
	}
	return path
}

func BenchmarkSource(b *testing.B) {
	s, err := flights.Open(data(b), 0)
	require.NoError(b, err)
	var e flights.Event
	buf := make([]byte, 0, flights.MaxEventBytes)
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		dst, ok := s.Next(buf, &e)
		if !ok {
			b.StopTimer()
			s.Reset()
			b.StartTimer()
		}
		size += int64(len(dst))
	}
	b.SetBytes(size / int64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkOpen(b *testing.B) {
	path := data(b)
	b.ReportAllocs()
	for b.Loop() {
		_, err := flights.Open(path, 0)
		require.NoError(b, err)
	}
}

package flights

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/millrace/millrace/drift/dataset"
)

// File is the flights' data in the npm package vega-datasets, below its node_modules.
const File = "vega-datasets/data/flights-3m.parquet"

var columnNames = [...]string{"date", "delay", "distance", "origin", "destination"}

// maxFlights bounds what fits the fixed width of request ids.
const maxFlights = 10_000_000

// timetable holds the flights in event-time order, 24 bytes each.
type timetable struct {
	departure   []int32 // minutes since 1970-01-01T00:00Z
	delay       []int16 // at arrival, minutes
	distance    []int16 // miles
	origin      []uint16
	destination []uint16
	airports    []string
	landed      []int32 // flights by landing, then by number
}

func (t *timetable) landing(flight int32) int32 {
	return t.departure[flight] + block(t.distance[flight])
}

// block is the assumed time from gate to landing, in minutes.
func block(distance int16) int32 { return 40 + 2*int32(distance)/15 }

// read loads the columns of the file, a batch of rows at a time, and sorts them.
func read(path string) (_ *timetable, err error) {
	ctx := context.Background()
	data, err := dataset.Open(ctx, path, dataset.Options{Format: dataset.FormatParquet})
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open flights: %w; run `make native` to install the data", err)
		}
		return nil, fmt.Errorf("open flights: %w", err)
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	columns, err := dataset.Columns(data, columnNames[:]...)
	if err != nil {
		return nil, fmt.Errorf("open flights: %w; this is not the flights data", err)
	}
	t := &timetable{}
	numbers := map[string]uint16{}
	err = data.Scan(ctx, columns, func(batch arrow.Record) error {
		if n := len(t.departure) + int(batch.NumRows()); n > maxFlights {
			return fmt.Errorf("at least %d rows, want at most %d", n, maxFlights)
		}
		for i, name := range columnNames {
			if err := t.appendColumn(name, batch.Column(i), numbers); err != nil {
				return fmt.Errorf("column %q: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read flights %s: %w", path, err)
	}
	t.sort()
	return t, nil
}

func (t *timetable) appendColumn(name string, values arrow.Array, numbers map[string]uint16) (err error) {
	if values.NullN() > 0 {
		return fmt.Errorf("%d nulls, want none", values.NullN())
	}
	switch name {
	case "date":
		err = t.appendDepartures(values)
	case "delay":
		t.delay, err = appendInt16(t.delay, values)
	case "distance":
		t.distance, err = appendInt16(t.distance, values)
	case "origin":
		t.origin, err = t.appendAirports(t.origin, values, numbers)
	case "destination":
		t.destination, err = t.appendAirports(t.destination, values, numbers)
	}
	return err
}

func (t *timetable) appendDepartures(values arrow.Array) error {
	times, ok := values.(*array.Timestamp)
	if !ok {
		return fmt.Errorf("type %s, want a timestamp", values.DataType())
	}
	const perMinute = 60_000_000 // microseconds, as dataset has all times
	for _, v := range times.TimestampValues() {
		m := int64(v) / perMinute
		if m*perMinute != int64(v) || m < 0 || m > math.MaxInt32-(1<<20) {
			return fmt.Errorf("timestamp %d is no whole minute since 1970", v)
		}
		t.departure = append(t.departure, int32(m))
	}
	return nil
}

func appendInt16(dst []int16, column arrow.Array) ([]int16, error) {
	values, ok := column.(*array.Int64)
	if !ok {
		return nil, fmt.Errorf("type %s, want int64", column.DataType())
	}
	for _, v := range values.Int64Values() {
		if v < math.MinInt16 || v > math.MaxInt16 {
			return nil, fmt.Errorf("value %d does not fit 16 bits", v)
		}
		dst = append(dst, int16(v))
	}
	return dst, nil
}

// appendAirports appends the numbers of airports, giving one to each new airport.
func (t *timetable) appendAirports(dst []uint16, values arrow.Array, numbers map[string]uint16) ([]uint16, error) {
	codes, ok := values.(*array.String)
	if !ok {
		return nil, fmt.Errorf("type %s, want strings", values.DataType())
	}
	for i := range codes.Len() {
		code := codes.Value(i)
		n, known := numbers[code]
		if !known {
			if !plain(code) {
				return nil, fmt.Errorf("%q is no airport code: 1 to 8 of A-Z and 0-9", code)
			}
			if len(t.airports) > math.MaxUint16 {
				return nil, fmt.Errorf("more than %d airports", len(t.airports))
			}
			code = strings.Clone(code) // its memory ends with the batch
			n = uint16(len(t.airports))
			numbers[code] = n
			t.airports = append(t.airports, code)
		}
		dst = append(dst, n)
	}
	return dst, nil
}

// plain tells whether a code can stand in JSON as it is.
func plain(code string) bool {
	if code == "" || len(code) > 8 {
		return false
	}
	for _, c := range []byte(code) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// sort brings the flights into event-time order: by departure, equal departures in the
// order of the file. The data is sorted already; then nothing is moved.
func (t *timetable) sort() {
	if slices.IsSorted(t.departure) {
		return
	}
	order := make([]int32, len(t.departure))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return int(t.departure[a]) - int(t.departure[b]) })
	t.departure = permute(t.departure, order)
	t.delay = permute(t.delay, order)
	t.distance = permute(t.distance, order)
	t.origin = permute(t.origin, order)
	t.destination = permute(t.destination, order)
}

func permute[T any](values []T, order []int32) []T {
	out := make([]T, len(values))
	for i, from := range order {
		out[i] = values[from]
	}
	return out
}

// truncate keeps the first n flights, and lays down the order of the landings: by time,
// then by flight. It is a counting sort by minute.
func (t *timetable) truncate(n int) error {
	if n < len(t.departure) {
		t.departure = slices.Clone(t.departure[:n])
		t.delay = slices.Clone(t.delay[:n])
		t.distance = slices.Clone(t.distance[:n])
		t.origin = slices.Clone(t.origin[:n])
		t.destination = slices.Clone(t.destination[:n])
	}
	n = len(t.departure)
	first, last := t.departure[0], t.departure[n-1]
	if last-first > 10*366*24*60 {
		return fmt.Errorf("flights span %d minutes, want at most ten years", last-first)
	}
	if d := slices.Min(t.distance); d < 0 {
		return fmt.Errorf("a flight of %d miles", d)
	}
	next := make([]int32, last-first+block(slices.Max(t.distance))+2)
	for i := range n {
		next[t.landing(int32(i))-first+1]++
	}
	for m := 1; m < len(next); m++ {
		next[m] += next[m-1]
	}
	t.landed = make([]int32, n)
	for i := range n {
		flight := int32(i)
		at := &next[t.landing(flight)-first]
		t.landed[*at] = flight
		*at++
	}
	debug.FreeOSMemory() // what decoding left behind is more than the columns
	return nil
}

package flights_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/demo/flights"
)

// The golden files are written by deploy/examples/flights/train.py, from the features
// that the model was trained on: see golden() there.

// goldenFeatures are the numeric features, in the golden files' order.
var goldenFeatures = [...]string{
	"distance", "hour", "day_of_week", "network_delay", "origin_delay", "inbound_delay", "destination_delay",
	"inbound_landings", "destination_landings",
}

func readGolden(t *testing.T, name string) []map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	lines, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	require.NoError(t, err)
	rows := make([]map[string]string, len(lines)-1)
	for i, line := range lines[1:] {
		rows[i] = map[string]string{}
		for j, name := range lines[0] {
			rows[i][name] = line[j]
		}
	}
	return rows
}

// daySums are the sums of a day's requests and labels, modulo 2^64.
type daySums struct {
	requests, labels, labelWeighted uint64
	sum, weighted                   [len(goldenFeatures)]uint64
}

func (d *daySums) request(f flights.Features) {
	d.requests++
	for i, v := range [len(goldenFeatures)]int32{
		8 * f.Distance, f.MinuteOfDay, 8 * f.DayOfWeek, f.NetworkDelay8, f.OriginDelay8, f.InboundDelay8,
		f.DestinationDelay8, 8 * f.InboundLandings, 8 * f.DestinationLandings,
	} {
		d.sum[i] += uint64(int64(v))
		d.weighted[i] += uint64(int64(v)) * d.requests
	}
}

func (d *daySums) label(flight int) {
	d.labels++
	d.labelWeighted += uint64(flight) * d.labels
}

// columns renders the sums as the golden file has them.
func (d *daySums) columns(day int) map[string]string {
	u := func(v uint64) string { return strconv.FormatUint(v, 10) }
	out := map[string]string{
		"day": strconv.Itoa(day), "requests": u(d.requests), "labels": u(d.labels), "label_weighted": u(d.labelWeighted),
	}
	for i, name := range goldenFeatures {
		out[name+"_sum"] = strconv.FormatInt(int64(d.sum[i]), 10)
		out[name+"_weighted"] = u(d.weighted[i])
	}
	return out
}

// goldenValues renders a golden request as the two JSON values that it stands for.
func goldenValues(t *testing.T, flight int, r map[string]string) (request, label string) {
	t.Helper()
	minute := func(name string) int {
		v, err := strconv.Atoi(r[name])
		require.NoError(t, err)
		return v
	}
	id := fmt.Sprintf("f%07d", flight)
	var b strings.Builder
	fmt.Fprintf(&b, `{"request_id":%q,"departure":%d0000,"origin":%q,"destination":%q`,
		id, minute("departure")*6, r["origin"], r["destination"])
	for _, name := range goldenFeatures {
		fmt.Fprintf(&b, `,%q:%s`, name, r[name])
	}
	b.WriteByte('}')
	return b.String(), fmt.Sprintf(`{"request_id":%q,"model":"flights_delay","label":%s,"observed_at":%d0000}`,
		id, r["delay"], minute("landing")*6)
}

// TestFeaturesEqualTrainings replays all flights and compares single requests and labels,
// byte for byte, and every day's sums with what the training script computed. The race
// detector is ten times slower and has nothing to find here: with it, January will do.
func TestFeaturesEqualTrainings(t *testing.T) {
	requests, days := readGolden(t, "requests.csv"), readGolden(t, "days.csv")
	limit := 3_000_000
	if raceEnabled {
		limit = 508_239
	}
	s, err := flights.Open(data(t), limit)
	require.NoError(t, err)
	require.Equal(t, limit, s.Flights())
	want := map[int]map[string]string{}
	for _, r := range requests {
		flight, err := strconv.Atoi(r["flight"])
		require.NoError(t, err)
		if flight < limit {
			want[flight] = r
		}
	}

	const day, first = 24 * 60 * 60_000, 11323 // 2001-01-01
	sums := make([]daySums, len(days))
	compared := 0
	var e flights.Event
	buf := make([]byte, 0, flights.MaxEventBytes)
	for dst, ok := s.Next(buf, &e); ok; dst, ok = s.Next(dst[:0], &e) {
		sum := &sums[e.Time/day-first]
		if e.Kind == flights.KindRequest {
			sum.request(s.Features())
		} else {
			sum.label(e.Flight)
		}
		if r, ok := want[e.Flight]; ok {
			request, label := goldenValues(t, e.Flight, r)
			if e.Kind == flights.KindLabel {
				request = label
			}
			require.Equal(t, request, string(e.Value))
			compared++
		}
	}
	require.Equal(t, 2*len(want), compared)
	for i, d := range days {
		if raceEnabled && i >= 31 { // February's flights are missing
			break
		}
		require.Equal(t, d, sums[i].columns(i))
	}
}

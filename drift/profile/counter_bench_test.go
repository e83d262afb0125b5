package profile_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/schemas/observe/observetest"
)

// BenchmarkCounter counts records that were read: best-ns/value is what a row's column took in the
// quickest record, all that it is counted in and the reading included: other processes may run on the cores too.
func BenchmarkCounter(b *testing.B) {
	for _, tc := range []struct {
		name            string
		numbers, texts  int
		rows, perBucket int
		segments        int
	}{
		{"20_numbers", 20, 0, 4000, 0, 0},
		{"20_categories", 0, 20, 4000, 0, 0},
		{"20_numbers/400_rows", 20, 0, 400, 0, 0},
		{"20_numbers/1_row", 20, 0, 1, 0, 0},
		{"20_categories/1_row", 0, 20, 1, 0, 0},
		{"20_numbers/3_segments", 20, 0, 4000, 0, 3},
		{"20_numbers/a_bucket_each_row", 20, 0, 4000, 1, 0},
		{"20_numbers/a_bucket_every_50_rows", 20, 0, 4000, 50, 0},
	} {
		b.Run(tc.name, func(b *testing.B) {
			m, plan := &schemas.Manifest{Name: "m", Version: "1"}, &profile.Plan{Model: "m", Version: "1", Bucket: time.Minute}
			const seed = 5
			random := rand.New(rand.NewPCG(seed, seed))
			for i := range tc.numbers {
				name := fmt.Sprintf("x%d", i)
				m.Features = append(m.Features, schemas.Feature{Name: name, Type: schemas.TypeFloat64})
				sample := make([]float64, 2000)
				for j := range sample {
					sample[j] = random.NormFloat64()
				}
				slices.Sort(sample)
				var at []float64
				for _, r := range profile.EdgeRanks(2000) {
					at = append(at, sample[r])
				}
				plan.Columns = append(plan.Columns, profile.Column{Name: name, Edges: profile.Edges(at, sample[0])})
			}
			var listed []string
			for i := range 20 {
				listed = append(listed, fmt.Sprintf("value %d", i))
			}
			for i := range tc.texts + tc.segments {
				name := fmt.Sprintf("c%d", i)
				m.Features = append(m.Features, schemas.Feature{Name: name, Type: schemas.TypeCategory})
				plan.Columns = append(plan.Columns, profile.Column{Name: name, Categories: listed})
				if i >= tc.texts {
					plan.Segments = append(plan.Segments, name)
				}
			}
			w := observetest.Rows{Manifest: m, Event: func(row int) int64 {
				if tc.perBucket == 0 {
					return 0
				}
				return int64(row/tc.perBucket) * 60_000_000
			}, Value: func(column string, _ int) any {
				if column[0] == 'x' {
					return random.NormFloat64()
				}
				return listed[random.IntN(len(listed))]
			}}
			value := w.Stream(b, []int{0, tc.rows})
			c, err := profile.NewCounter(plan)
			require.NoError(b, err)
			r := observe.NewReader()
			s, messages, err := r.Read(&schemas.Record{Value: value}, func(schemas.Coordinates, int64) {})
			require.NoError(b, err)
			b.ReportAllocs()
			for range 10 { // until all are counted by slot
				require.NoError(b, r.Batches(s, messages, c.Add))
			}
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				if err := r.Batches(s, messages, c.Add); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best.Nanoseconds())/float64(tc.rows*len(plan.Columns)), "best-ns/value")
		})
	}
}

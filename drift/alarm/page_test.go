package alarm_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/drift/profile"
)

// TestCardPages: both forms name each check, the warnings, and the dummies, and a name cannot
// become markup.
func TestCardPages(t *testing.T) {
	const seed = 5
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	b := alarm.Buckets{Start: time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC), Length: 24 * time.Hour, Columns: []alarm.Column{{Name: "<b>", Numeric: true}, {Name: "kind"}}}
	for range 40 {
		counts := []profile.Counts{{Cells: make([]int64, 5)}, {Cells: make([]int64, 3)}}
		for range 500 {
			counts[0].Cells[r.IntN(5)]++
			counts[1].Cells[r.IntN(3)]++
		}
		b.Buckets = append(b.Buckets, alarm.Bucket{Rows: 500, Columns: counts})
	}
	c, err := alarm.Calibrate(b, alarm.Options{Window: b.Length, Every: 3650 * b.Length, Replicates: 20, Seed: seed})
	require.NoError(t, err)
	require.NotEmpty(t, c.Warnings)
	card, err := alarm.NewCard(b, c)
	require.NoError(t, err)
	titled := alarm.Titled{Model: "m", Version: "<i>", From: b.Start, To: b.Start.Add(40 * b.Length), Asked: c.Options.Every.String(), Card: card}
	var text, page bytes.Buffer
	require.NoError(t, titled.WriteText(&text))
	require.NoError(t, titled.WriteHTML(&page))
	for _, want := range []string{"the whole", "psi kind", "chisquare kind", "dummy: always", "dummy: never", "values grow by 0.5 standard deviations", "10 % of values are missing", "a category has 2 times as many rows"} {
		require.Contains(t, text.String(), want)
		require.Contains(t, page.String(), want)
	}
	require.Contains(t, text.String(), "warning: "+c.Warnings[0])
	require.Contains(t, text.String(), "psi <b>")
	require.Contains(t, page.String(), "psi &lt;b&gt;")
	require.False(t, strings.Contains(page.String(), "<b>") || strings.Contains(page.String(), "<i>"))
}

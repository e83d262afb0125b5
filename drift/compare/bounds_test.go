package compare_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/dataset"
)

// wide writes a table of CSV with so many columns, of which every second holds texts.
func wide(tb testing.TB, columns, rows int) dataset.Source {
	tb.Helper()
	var b bytes.Buffer
	for i := range columns {
		fmt.Fprintf(&b, "c%d,", i)
	}
	for r := range rows {
		b.WriteString("last\n")
		for i := range columns {
			if i%2 == 0 {
				fmt.Fprintf(&b, "%d,", (r*31+i)%7)
			} else {
				b.WriteString([]string{"a,", "b,", "c,"}[(r+i)%3])
			}
		}
	}
	b.WriteString("last\n")
	path := filepath.Join(tb.TempDir(), "wide.csv")
	require.NoError(tb, os.WriteFile(path, []byte(strings.Replace(b.String(), "last\n", "c_last\n", 1)), 0o600))
	s, err := dataset.Open(tb.Context(), path, dataset.Options{})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// Columns are worked on in the same memory: what each one took for itself was 64 KiB a side,
// which for 65,536 columns of a 6 MB file were 8 GB. The bytes that are allocated in all, which
// do not depend on the collector, stay below what that was for 8,192 columns.
func TestWideTablesTakeLittleForEachColumn(t *testing.T) {
	const columns = 8192
	reference, current := wide(t, columns, 40), wide(t, columns, 40)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := compare.Compare(t.Context(), reference, current, compare.Options{Memory: 64 << 20})
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Len(t, r.Columns, columns+1)
	require.False(t, r.Dataset.Drifted)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*columns)*48<<10)
}

// With memory for some columns at a time, a table is read several times, and says the same.
func TestColumnsInSeveralPassesSayTheSame(t *testing.T) {
	reference, current := wide(t, 200, 100), wide(t, 200, 120)
	whole, err := compare.Compare(t.Context(), reference, current, compare.Options{})
	require.NoError(t, err)
	passes, err := compare.Compare(t.Context(), reference, current, compare.Options{Memory: 256 << 10})
	require.NoError(t, err)
	require.Equal(t, whole.Columns, passes.Columns)
	require.Equal(t, whole.Dataset, passes.Dataset)
	require.Equal(t, whole.Reference, passes.Reference)
}

func TestCategoriesThatDoNotFitAreLeftOutAndSaid(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("x,text\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "%d,%s%05d\n", i%7, strings.Repeat("long", 20), i%5000)
	}
	path := filepath.Join(t.TempDir(), "texts.csv")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	s, err := dataset.Open(t.Context(), path, dataset.Options{})
	require.NoError(t, err)
	defer s.Close()
	r, err := compare.Compare(t.Context(), s, s, compare.Options{Memory: 1 << 20})
	require.NoError(t, err)
	require.Equal(t, []string{`column "text" is left out: its categories are more than fit the memory allowed; raise --memory, or leave out other columns`}, r.Notes)
	r, err = compare.Compare(t.Context(), s, s, compare.Options{})
	require.NoError(t, err)
	require.Len(t, r.Columns, 2)
}

func TestTooManySegmentsTimesColumnsAreRefused(t *testing.T) {
	s := wide(t, 40_000, 12)
	_, err := compare.Compare(t.Context(), s, s, compare.Options{Segment: "c1"})
	require.ErrorContains(t, err, "3 segments of \"c1\" times 40,000 columns are more than the 100000 comparisons that --segment makes")
}

// A gigabyte of compressed nothing is read to its end for the types alone.
func TestOpeningEndsWithItsContext(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprintln(w, "a")
	block := bytes.Repeat([]byte("1\n"), 1<<19)
	for range 16 {
		_, err := w.Write(block)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "large.csv.gz")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	_, err := dataset.Open(ctx, path, dataset.Options{})
	require.ErrorIs(t, err, interrupted)
	s, err := dataset.Open(t.Context(), path, dataset.Options{})
	require.NoError(t, err)
	defer s.Close()
	_, err = compare.Compare(ctx, s, s, compare.Options{})
	require.ErrorIs(t, err, interrupted)
}

package consumers

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// A lane polls what its memory can hold, also of requests that become much more when they
// are answered, and no less at full load than it may.
func TestAppetite(t *testing.T) {
	t.Parallel()
	polls := func(a *appetite, n, in, out int) (took []int) {
		for range n {
			k := a.next()
			a.handled(k, k*in, k*out)
			a.succeeded()
			took = append(took, k)
		}
		return took
	}
	a := newAppetite(8192)
	a.begin()
	require.Equal(t, []int{64, 128, 256, 512, 1024, 2048, 4096, 8192, 8192}, polls(a, 9, 250, 300), "2 MiB of usual requests")
	require.Equal(t, BatchBytes/1000, polls(a, 2, 1000, 1200)[1])

	a = newAppetite(8192)
	a.begin()
	require.Equal(t, []int{64, 1, 1}, polls(a, 3, 376, 12<<20), "small requests with large answers")
	fewer := polls(a, 100, 250, 300)
	require.IsNonDecreasing(t, fewer)
	require.Equal(t, 8192, fewer[99], "large ones are forgotten")

	for _, want := range []int{4096, 2048, 1024} {
		a.failed()
		require.Equal(t, want, a.next())
		a.handled(a.next(), 1, 1)
	}
	a.handled(3, 1, 1)
	a.failed()
	a.begin()
	require.Equal(t, 1, a.next())
	a.failed()
	require.Equal(t, 1, a.next())
	a.succeeded()
	require.Equal(t, 2, a.next())
}

func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancelCause(t.Context())
	o := newOutbox(nil)
	fill := func(records int) {
		o.reset()
		o.begin(records, end)
		for range 100 {
			buf := o.Buffer()
			from := len(*buf)
			*buf = append(*buf, make([]byte, 1<<20)...)
			o.Publish(schemas.Message{Value: (*buf)[from:]})
		}
	}
	fill(1)
	require.NoError(t, o.failure(), "one record is answered, whatever it becomes")
	require.NoError(t, ctx.Err())
	require.Equal(t, 100<<20, o.size())

	fill(2)
	require.ErrorIs(t, o.failure(), errTooMuch)
	require.ErrorIs(t, context.Cause(ctx), errTooMuch)
	require.LessOrEqual(t, o.size(), maxBatchOutput+1<<20, "what comes after it is not held")

	o.reset()
	for range 200_000 {
		o.Publish(schemas.Message{Headers: make([]schemas.Header, 2)})
	}
	o.reset()
	kept := 0
	for _, c := range o.chunks {
		kept += cap(c)
	}
	require.LessOrEqual(t, kept, maxKeptBytes)
	require.LessOrEqual(t, len(o.blocks), maxKeptBlocks)
	require.LessOrEqual(t, cap(o.headers), maxKeptHeaders)
	require.NoError(t, o.failure())
}

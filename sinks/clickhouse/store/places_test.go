package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestExtent(t *testing.T) {
	var a, b extent
	at := func(topic byte, partition int32, offset int64) schemas.Coordinates {
		return schemas.Coordinates{TopicID: [16]byte{topic}, Partition: partition, Offset: offset}
	}
	for i := range 10 {
		a.add(at(1, int32(i%2), int64(i)), int64(100+i))
	}
	b.add(at(1, 0, 50), 90)
	b.add(at(2, 0, 1), 91)
	a.merge(&b)
	a.merge(&extent{})
	require.Equal(t, 12, a.rows)
	require.Equal(t, []span{{[16]byte{1}, 0, 0, 50}, {[16]byte{1}, 1, 1, 9}, {[16]byte{2}, 0, 1, 1}}, a.spans)
	require.EqualValues(t, 90, a.from)
	require.EqualValues(t, 109, a.to)
	columns := placeColumns{"i", "p", "o", "", "t"}
	const within = "t >= fromUnixTimestamp64Micro(90, 'UTC') AND t <= fromUnixTimestamp64Micro(91, 'UTC') AND "
	require.Equal(t, []string{within +
		"((i = '01000000-0000-0000-0000-000000000000' AND p = 0 AND o BETWEEN 50 AND 50) OR " +
		"(i = '02000000-0000-0000-0000-000000000000' AND p = 0 AND o BETWEEN 1 AND 1))"}, columns.conditions(&b))
	for i := range int32(maxSpans) {
		b.add(at(1, i, int64(1000-i)), 90)
	}
	two := columns.conditions(&b) // of one span more than one has room for
	require.Len(t, two, 2)
	require.Equal(t, maxSpans, strings.Count(two[0], "BETWEEN"))
	require.Less(t, len(two[0]), 200<<10)
	require.Equal(t, within+"((i = '01000000-0000-0000-0000-000000000000' AND p = 999 AND o BETWEEN 1 AND 1))", two[1])
}

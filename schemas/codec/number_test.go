package codec

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// checkNumber holds what a number is read as to package strconv.
func checkNumber(t *testing.T, text string) {
	t.Helper()
	var s scanner
	s.reset([]byte(text))
	var v value
	if fault := s.value("x", &v); fault != nil || v.kind != kindNumber || len(v.text) != len(text) {
		return // not a number
	}
	for _, bits := range []int{32, 64} {
		want, err := strconv.ParseFloat(text, bits)
		got, ok := v.float(bits)
		require.Equal(t, err == nil, ok, "%s in %d bits", text, bits)
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), "%s in %d bits", text, bits)
	}
	want, err := strconv.ParseInt(text, 10, 64)
	got, ok := v.int()
	require.Equal(t, err == nil, ok, text)
	if ok {
		require.Equal(t, want, got, text)
	}
}

func TestNumbersAreThoseOfStrconv(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"0", "-0", "0.0", "-0.000", "1", "-1", "9007199254740991", "9007199254740992", "9007199254740993", "9223372036854775807",
		"9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
		"9999999999999999999", "99999999999999999999", "0.1", "0.3", "1e3", "1E+3", "1.5e-3", "0.0000000000000000000001",
		"0.00000000000000000000001", "16777217", "16777216.5", "1.00000005960464477539", "1.000000059604644775390625",
		"0.000000059604644775390625", "340282346638528859811704183484516925440", "340282356779733661637539395458142568448", "1e39", "1e309",
		"3.4028235", "1.1754943508222875", "0.000000000000000000000", "123456.789", "5e-324", "1.401298464324817e-45",
	} {
		checkNumber(t, text)
	}
	const seed = 11
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 60_000 {
		var text string
		switch rnd.IntN(5) {
		case 0: // the shortest text of a float32
			text = strconv.FormatFloat(float64(math.Float32frombits(rnd.Uint32())), 'f', -1, 32)
		case 1: // of a middle between two of them
			f := float64(math.Float32frombits(rnd.Uint32()&^(0xff<<23) | uint32(100+rnd.IntN(60))<<23))
			text = strconv.FormatFloat(math.Float64frombits(math.Float64bits(f)|1<<28), 'f', -1, 64)
		case 2:
			text = strconv.FormatFloat(rnd.NormFloat64(), 'f', rnd.IntN(24), 64)
		case 3:
			text = strconv.FormatInt(int64(rnd.Uint64())>>rnd.IntN(64), 10)
		default:
			text = strconv.FormatUint(rnd.Uint64()>>rnd.IntN(64), 10) + "." + strconv.FormatUint(rnd.Uint64()>>rnd.IntN(64), 10)
		}
		checkNumber(t, text)
	}
}

func FuzzNumber(f *testing.F) {
	for _, text := range []string{"1.5", "-0", "16777217", "1e400"} {
		f.Add(text)
	}
	f.Fuzz(checkNumber)
}

// Integers are compared as such: float64 takes 2^53+1 for 2^53.
func TestLargeIntegersAreCompared(t *testing.T) {
	const most = 1 << 53
	m, err := schemas.ParseManifest("test", []byte(strings.Replace(manifestText,
		"{name: i64, type: int64}", "{name: i64, type: int64, min: -9007199254740992, max: 9007199254740992, out_of_range: reject}", 1)))
	require.NoError(t, err)
	byJSON, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(t, err)
	defer byJSON.Release()
	byAvro, _, _ := framed(t, m, avroSchema("", ""))
	byArrow := arrowRequests(t, m)
	for n, within := range map[int64]bool{most: true, most + 1: false, -most: true, -most - 1: false, math.MaxInt64: false, math.MinInt64: false, 0: true} {
		fault := byJSON.Append(record(strings.Replace(good, "9007199254740993", strconv.FormatInt(n, 10), 1)))
		require.Equal(t, within, fault == nil, "%d: %v", n, fault)
		fault = offer(t, byAvro, encodeAvro(t, avroSchema("", ""), avroRequest("i64", n)))
		require.Equal(t, within, fault == nil, "%d: %v", n, fault)
		got := decodeArrow(t, byArrow, record(stream(t, 1, with(goodColumns(1), column{"i64", arrow.PrimitiveTypes.Int64, []any{n}}))))
		require.Nil(t, got.Fault)
		require.Equal(t, within, len(got.Refused) == 0, n)
		if !within {
			require.Equal(t, schemas.ErrorClassOutOfRange, fault.Class)
			require.Equal(t, schemas.ErrorClassOutOfRange, got.Refused[0].Class)
		}
	}
	byAvro.NewBatch().Release()
	byArrow.NewBatch().Release()
}

func TestWholeRange(t *testing.T) {
	inf := math.Inf(1)
	for bounds, want := range map[[2]float64][2]int64{
		{-inf, inf}: {math.MinInt64, math.MaxInt64}, {-1 << 63, 1 << 63}: {math.MinInt64, math.MaxInt64},
		{-1.5, 2.5}: {-1, 2}, {-3, 4}: {-3, 4}, {0.25, 0.75}: {1, 0},
		{1 << 63, inf}: {1, 0}, {-inf, -1e30}: {1, 0},
	} {
		low, high := wholeRange(bounds[0], bounds[1])
		require.Equal(t, want, [2]int64{low, high}, bounds)
	}
}

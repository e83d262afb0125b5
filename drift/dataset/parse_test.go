package dataset_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/dataset"
)

// TestParseFloat compares with strconv, to the bit.
func TestParseFloat(t *testing.T) {
	check := func(t require.TestingT, text string) {
		want, _ := strconv.ParseFloat(text, 64)
		got, ok := dataset.ParseFloat([]byte(text))
		require.True(t, ok, text)
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), text)
	}
	for _, s := range []string{
		"0", "-0", "-0.0", "1", "+1", ".5", "5.", "00012.5", "9007199254740993", "9007199254740993.0", "1e400", "-1e400", "1e-400",
		"18446744073709551615", "18446744073709551616", "0.000000000000000000000000001", "9223372036854775808.5", "1844674407370955161.5",
		"1.7976931348623157e308", "4.9406564584124654e-324", "2.2250738585072014E-308", "123456789012345678901234567890", "1e22", "1e23", "0.1e-7",
	} {
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		x := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		if math.IsNaN(x) || math.IsInf(x, 0) {
			x = 1
		}
		format := rapid.SampledFrom([]byte("efg")).Draw(t, "format")
		check(t, strconv.FormatFloat(x, format, rapid.IntRange(-1, 20).Draw(t, "precision"), 64))
		check(t, strconv.FormatUint(rapid.Uint64().Draw(t, "digits"), 10)+"."+strconv.FormatUint(uint64(rapid.Uint32().Draw(t, "fraction")), 10))
		digits := strconv.FormatUint(rapid.Uint64().Draw(t, "number"), 10)
		at := rapid.IntRange(0, len(digits)).Draw(t, "point")
		check(t, digits[:at]+"."+digits[at:])
	})
}

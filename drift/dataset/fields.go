package dataset

import (
	"maps"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
)

// Keys of a field's metadata, by which a Source says more of a column than its type does.
const (
	zoneKey     = "zone"     // a ZoneForm
	typeKey     = "type"     // the name of a type that cannot be scanned
	declaredKey = "declared" // text by declaration
	exactKey    = "exact"    // text that spells numbers; see Exact
	roundedKey  = "rounded"  // numbers that Exact gives as text
	bitsKey     = "bits"     // of a number in the file, where the column's type has more
	unitKey     = "unit"     // of times of day and durations, in nanoseconds
	indexKey    = "index"    // an index of pandas
	numericKey  = "numeric"  // see NumericText
)

func metadataOf(f arrow.Field, key string) string {
	v, _ := f.Metadata.GetValue(key)
	return v
}

// tag sets a key of a field's metadata.
func tag(f *arrow.Field, key, value string) {
	all := f.Metadata.ToMap()
	all[key] = value
	keys := slices.Sorted(maps.Keys(all))
	values := make([]string, len(keys))
	for i, k := range keys {
		values[i] = all[k]
	}
	f.Metadata = arrow.NewMetadata(keys, values)
}

// Declared says that a column is text because the file, or the caller, says so, or because of the
// zeros that some of its numbers begin with: no numbers are to be read out of it. Texts of CSV,
// which has no types, are not declared.
func Declared(f arrow.Field) bool {
	return f.Type.ID() == arrow.STRING && metadataOf(f, declaredKey) != "" && metadataOf(f, exactKey) == ""
}

// Index says that a column is the index that pandas or R wrote before the columns of a CSV: the first
// one, without a name or with the one that pandas gives it then.
func Index(f arrow.Field) bool { return metadataOf(f, indexKey) != "" }

// NumericText says of a column of text whose values are mostly numbers, as people write them, what
// keeps them from being read, and which option reads them; empty of any other column. It is a phrase
// that follows "it holds".
func NumericText(f arrow.Field) string { return metadataOf(f, numericKey) }

// TypeName is the name of a column's type for people.
func TypeName(f arrow.Field) string {
	if name := metadataOf(f, typeKey); name != "" {
		return name
	}
	return f.Type.Name()
}

// FloatBits returns how many bits the numbers of a column have in the file: 16, 32 or 64 of floats, 64 of
// what is written in decimal digits, 0 of what is no number.
func FloatBits(f arrow.Field) int {
	if bits, err := strconv.Atoi(metadataOf(f, bitsKey)); err == nil {
		return bits
	}
	switch id := f.Type.ID(); {
	case id == arrow.FLOAT32:
		return 32
	case id == arrow.FLOAT64 || id == arrow.INT64 || id == arrow.UINT64 || id == arrow.STRING && metadataOf(f, exactKey) != "":
		return 64
	default:
		return 0
	}
}

// Unit returns how many nanoseconds one is of a column of times of day or durations, which are integers; 0 of any other.
func Unit(f arrow.Field) int64 {
	n, _ := strconv.ParseInt(metadataOf(f, unitKey), 10, 64)
	return n
}

func tagUnit(f *arrow.Field, unit arrow.TimeUnit) {
	tag(f, unitKey, strconv.FormatInt(int64(unit.Multiplier()), 10))
}

// Numbers is what a column of an exact Source holds where its text spells numbers.
type Numbers uint8

// What it holds.
const (
	NumbersNone    Numbers = iota // it is no such column
	NumbersWhole                  // nothing but whole numbers
	NumbersDecimal                // any numbers
)

// ExactNumbers tells the columns that Exact made.
func ExactNumbers(f arrow.Field) Numbers {
	switch metadataOf(f, exactKey) {
	case "whole":
		return NumbersWhole
	case "decimal":
		return NumbersDecimal
	default:
		return NumbersNone
	}
}

// Exact returns the source with text in place of the numbers that 64-bit floats may round: of a text
// format, columns with whole numbers beyond 2^53 that 64-bit integers do not hold either, or that
// lie beside others; of Parquet and Arrow, decimals of more than 15 digits. The text is the number in
// plain digits, without zeros that say nothing, so that equal numbers are equal texts. The source that
// was given stays the one to close.
func Exact(s Source) Source {
	if e, ok := s.(interface{ exact() Source }); ok {
		return e.exact()
	}
	return s
}

// exactBase is the base of an exact source, and tells which columns are text in it.
func (t *base) exactBase() (exact base, columns []bool) {
	fields := slices.Clone(t.schema.Fields())
	columns = make([]bool, len(fields))
	for i := range fields {
		if how := metadataOf(fields[i], roundedKey); how != "" {
			fields[i].Type, columns[i] = Text, true
			tag(&fields[i], exactKey, how)
		}
	}
	exact = newBase(t.name, t.options)
	exact.typed, exact.notes = t.typed, t.notes
	exact.schema, exact.typeErrors = arrow.NewSchema(fields, nil), make([]int64, len(fields))
	return exact, columns
}

// AppendNumber appends a decimal number in plain digits, without zeros that say nothing: the same text
// for the same number, however it was written. Very large and very small ones keep an exponent. ok is false
// of what is no number, of which nothing is appended.
func AppendNumber(dst, v []byte) (out []byte, ok bool) {
	v = trim(v)
	n, ok := parseNumber(v)
	if !ok {
		return dst, false
	}
	if n.integer && n.exact {
		if n.negative && n.digits > 0 {
			dst = append(dst, '-')
		}
		return strconv.AppendUint(dst, n.digits, 10), true
	}
	digits := make([]byte, 0, len(v))
	whole, point := 0, false // digits before the point
	for i, d := range v {
		switch {
		case d-'0' <= 9:
			digits = append(digits, d)
			if !point {
				whole++
			}
			continue
		case d == '.':
			point = true
			continue
		case d == 'e' || d == 'E':
			e, err := strconv.Atoi(string(bytesWithoutPlus(v[i+1:])))
			if err != nil || e > 1<<20 || e < -1<<20 {
				return dst, false
			}
			whole += e
		default:
			continue // the sign
		}
		break
	}
	for len(digits) > 0 && digits[0] == '0' {
		digits, whole = digits[1:], whole-1
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	if len(digits) == 0 {
		return append(dst, '0'), true
	}
	if n.negative {
		dst = append(dst, '-')
	}
	const most = 80 // digits of the longest decimal
	switch {
	case whole > most || whole < -most:
		dst = append(dst, digits[0])
		if len(digits) > 1 {
			dst = append(append(dst, '.'), digits[1:]...)
		}
		dst = append(dst, 'e')
		return strconv.AppendInt(dst, int64(whole-1), 10), true
	case whole <= 0:
		dst = append(dst, "0."...)
		for range -whole {
			dst = append(dst, '0')
		}
		return append(dst, digits...), true
	case whole >= len(digits):
		dst = append(dst, digits...)
		for range whole - len(digits) {
			dst = append(dst, '0')
		}
		return dst, true
	default:
		return append(append(append(dst, digits[:whole]...), '.'), digits[whole:]...), true
	}
}

func bytesWithoutPlus(v []byte) []byte {
	if len(v) > 0 && v[0] == '+' {
		return v[1:]
	}
	return v
}

package codec

import (
	"math"
	"strconv"

	"github.com/millrace/millrace/schemas"
)

// shape is what a value of an encoding with schemas is, whatever its width there.
type shape uint8

const (
	shapeNone shape = iota // nothing that could stand in a field of a request
	shapeBool
	shapeInt
	shapeFloat
	shapeText
	shapeTime
)

// fits tells whether a value of that shape could stand in a field, and what can.
func (b *rowBuilder) fits(i int, s shape) (want string, ok bool) {
	f := &b.fields[i]
	switch f.role {
	case roleRequestID:
		return "a string or a whole number", s == shapeText || s == shapeInt
	case roleEventTime:
		switch b.format {
		case schemas.TimeRFC3339:
			return "a timestamp, or a string with a time in RFC 3339", s == shapeTime || s == shapeText
		case schemas.TimeUnix:
			return "a timestamp, or a number of seconds since 1970", s == shapeTime || s == shapeInt || s == shapeFloat
		default:
			return "a timestamp, or a whole number (" + string(b.format) + ")", s == shapeTime || s == shapeInt
		}
	default:
	}
	switch f.feature.Type {
	case schemas.TypeBool:
		return "a boolean", s == shapeBool
	case schemas.TypeString, schemas.TypeCategory:
		return "a string", s == shapeText
	case schemas.TypeInt32, schemas.TypeInt64:
		return "a whole number", s == shapeInt || s == shapeFloat
	default:
		return "a number", s == shapeInt || s == shapeFloat
	}
}

// The setters put a value of a shape that fits into a field's cell.

func (b *rowBuilder) setBool(i int, v bool) {
	c := &b.cells[i]
	*c = cell{seen: true}
	if v {
		c.int = 1
	}
}

func (b *rowBuilder) setInt(i int, n int64) *schemas.RequestError {
	f, c := &b.fields[i], &b.cells[i]
	*c = cell{seen: true, int: n}
	switch f.role {
	case roleRequestID:
		from := len(b.scratch)
		b.scratch = strconv.AppendInt(b.scratch, n, 10)
		c.text = b.scratch[from:]
		return nil
	case roleEventTime:
		return b.setUnix(i, n)
	default:
	}
	fits := true
	var within bool
	switch f.feature.Type {
	case schemas.TypeFloat32:
		c.num = float64(float32(n))
		within = c.num >= f.min && c.num <= f.max
	case schemas.TypeFloat64:
		c.num = float64(n)
		within = c.num >= f.min && c.num <= f.max
	default:
		fits = f.feature.Type == schemas.TypeInt64 || int64(int32(n)) == n
		within = n >= f.low && n <= f.high
	}
	switch {
	case !fits:
		return f.unfit(strconv.AppendInt(nil, n, 10))
	case !within:
		return f.outside(strconv.AppendInt(nil, n, 10))
	default:
		return nil
	}
}

func (b *rowBuilder) setUint(i int, n uint64) *schemas.RequestError {
	if n <= math.MaxInt64 {
		return b.setInt(i, int64(n))
	}
	f, c := &b.fields[i], &b.cells[i]
	text := strconv.AppendUint(nil, n, 10)
	*c = cell{seen: true}
	switch f.role {
	case roleRequestID:
		c.text = text
		return nil
	case roleEventTime:
		return outOfTime(f.name, text)
	default:
	}
	switch f.feature.Type {
	case schemas.TypeFloat32:
		c.num = float64(float32(n))
	case schemas.TypeFloat64:
		c.num = float64(n)
	default:
		return f.unfit(text)
	}
	return f.inRange(c.num, text)
}

func (b *rowBuilder) setFloat(i int, x float64) *schemas.RequestError {
	if math.IsNaN(x) { // as null, which JSON has in its place
		return b.setNull(i)
	}
	f, c := &b.fields[i], &b.cells[i]
	*c = cell{seen: true, num: x}
	if f.role == roleEventTime {
		if math.Abs(x) > 1e11 {
			return outOfTime(f.name, floatText(x))
		}
		return b.setMicros(i, int64(math.Round(x*1e6)), nil)
	}
	fit := false
	switch f.feature.Type {
	case schemas.TypeFloat32:
		c.num = float64(float32(x))
		fit = c.num-c.num == 0
	case schemas.TypeFloat64:
		fit = x-x == 0 // not infinite
	default: // whole as far as float64 counts exactly
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			c.int = int64(x)
			fit = f.feature.Type == schemas.TypeInt64 || int64(int32(c.int)) == c.int
		}
	}
	if !fit {
		return f.unfit(floatText(x))
	}
	if f.bounded && (c.num < f.min || c.num > f.max) {
		return f.inRange(c.num, floatText(x))
	}
	return nil
}

func floatText(x float64) []byte { return strconv.AppendFloat(nil, x, 'g', -1, 64) }

// setText takes valid UTF-8. The text must stay until finish.
func (b *rowBuilder) setText(i int, text []byte) *schemas.RequestError {
	f, c := &b.fields[i], &b.cells[i]
	*c = cell{seen: true, text: text}
	switch {
	case f.role == roleEventTime:
		return b.parseTime(i, &value{kind: kindString, text: text})
	case f.dict != nil:
		return f.inCategories(text)
	default:
		return nil
	}
}

// setNull puts what the encoding says is absent or null.
func (b *rowBuilder) setNull(i int) *schemas.RequestError {
	if err := b.absent(i); err != nil {
		return err
	}
	b.cells[i].seen = true
	return nil
}

// setUnix puts an event time that is a whole number in the manifest's format.
func (b *rowBuilder) setUnix(i int, n int64) *schemas.RequestError {
	unit := int64(1)
	switch b.format {
	case schemas.TimeUnix:
		unit = 1_000_000
	case schemas.TimeUnixMS:
		unit = 1000
	default:
	}
	if n > schemas.MaxMicros/unit || n < schemas.MinMicros/unit {
		return outOfTime(b.fields[i].name, strconv.AppendInt(nil, n, 10))
	}
	return b.setMicros(i, n*unit, nil)
}

// setMicros puts an event time, in microseconds since 1970. text is how the request writes it.
func (b *rowBuilder) setMicros(i int, us int64, text []byte) *schemas.RequestError {
	if us < schemas.MinMicros || us > schemas.MaxMicros {
		if text == nil {
			text = strconv.AppendInt(nil, us, 10)
		}
		return outOfTime(b.fields[i].name, text)
	}
	b.cells[i].int = us
	return nil
}

// parseTime puts an event time that is written as text, or as a JSON number.
func (b *rowBuilder) parseTime(i int, v *value) *schemas.RequestError {
	name := b.fields[i].name
	var us int64
	switch b.format {
	case schemas.TimeRFC3339:
		if v.kind != kindString {
			return wrongType(name, "a time in RFC 3339", v)
		}
		var ok bool
		if us, ok = b.zone.parse(v.text); !ok {
			return b.zone.wrongTime(name, v)
		}
	case schemas.TimeUnix:
		if v.kind != kindNumber {
			return wrongType(name, "a number of seconds since 1970", v)
		}
		x, ok := v.float(64)
		if !ok || math.Abs(x) > 1e11 {
			return outOfTime(name, v.text)
		}
		us = int64(math.Round(x * 1e6))
	default:
		if v.kind != kindNumber {
			return wrongType(name, "a whole number ("+string(b.format)+")", v)
		}
		n, ok := v.whole()
		if !ok {
			return wrongType(name, "a whole number ("+string(b.format)+")", v)
		}
		if us = n; b.format == schemas.TimeUnixMS {
			if n > schemas.MaxMicros/1000 || n < schemas.MinMicros/1000 {
				return outOfTime(name, v.text)
			}
			us = n * 1000
		}
	}
	return b.setMicros(i, us, v.text)
}

package codec

import (
	"encoding/json"
	"math"
	"time"

	"github.com/millrace/millrace/schemas"
)

// ExampleRequest returns a request that the manifest accepts, for people to start from.
func ExampleRequest(m *schemas.Manifest) []byte {
	dst := []byte{'{'}
	add := func(key string, value any) {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = appendJSON(dst, key)
		dst = append(dst, ':')
		dst = appendJSON(dst, value)
	}
	add(fieldRequestID, "example-1")
	if m.EventTime.Field != "" {
		now := time.Unix(time.Now().Unix(), 0).UTC()
		switch m.EventTime.Format {
		case schemas.TimeUnix:
			add(m.EventTime.Field, now.Unix())
		case schemas.TimeUnixMS:
			add(m.EventTime.Field, now.UnixMilli())
		case schemas.TimeUnixUS:
			add(m.EventTime.Field, now.UnixMicro())
		default:
			add(m.EventTime.Field, now.Format(time.RFC3339))
		}
	}
	for i := range m.Features {
		add(m.Features[i].Key(), exampleValue(&m.Features[i]))
	}
	return append(dst, '}')
}

func appendJSON(dst []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		return append(dst, "null"...) // none of these values fails
	}
	return append(dst, text...)
}

func exampleValue(f *schemas.Feature) any {
	if f.Default != nil {
		return f.Default
	}
	switch f.Type {
	case schemas.TypeBool:
		return true
	case schemas.TypeString:
		return "text"
	case schemas.TypeCategory:
		return f.Categories[0]
	default:
	}
	x := 1.0
	if f.Min != nil {
		x = max(x, *f.Min)
	}
	if f.Max != nil {
		x = min(x, *f.Max)
	}
	if f.Type == schemas.TypeInt32 || f.Type == schemas.TypeInt64 {
		if n := math.Ceil(x); f.Max == nil || n <= *f.Max {
			return int64(n)
		}
		return int64(math.Floor(x))
	}
	return x
}

package codec

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/millrace/millrace/schemas"
)

// ResultEncoder writes results as JSON:
//
//	{"request_id":"…","model":"…","version":"…","predictions":{"…":…},"latency_us":…,"queue_us":…}
//
// latency_us runs from the fetch of the request to the start of encoding, queue_us from its append
// to Kafka to the fetch; it is null where the request has no usable time.
type ResultEncoder struct {
	resultColumns
	middle []byte   // `,"model":…,"predictions":{`
	keys   [][]byte // `"name":`, with a comma before all but the first
}

// NewResultEncoder plans an encoder.
func NewResultEncoder(m *schemas.Manifest) *ResultEncoder {
	e := &ResultEncoder{resultColumns: newResultColumns(m)}
	e.middle = fmt.Appendf(nil, `,"model":%q,"version":%q,"predictions":{`, m.Name, m.Version) // both are plain ASCII names
	for i, o := range m.Outputs {
		key := fmt.Sprintf("%q:", o.Name)
		if i > 0 {
			key = "," + key
		}
		e.keys = append(e.keys, []byte(key))
	}
	return e
}

// Append implements Results. A request that failed has no result.
func (e *ResultEncoder) Append(dst []byte, a *Answer) ([]byte, error) {
	if len(a.Failed) > 0 {
		return dst, nil
	}
	return e.AppendRow(dst, a.From, a.LatencyUS, a.QueueUS), nil
}

// AppendRow appends the result of one row to dst.
func (e *ResultEncoder) AppendRow(dst []byte, row int, latencyUS, queueUS int64) []byte {
	dst = append(dst, `{"request_id":`...)
	dst = appendString(dst, e.ids.Value(row))
	dst = append(dst, e.middle...)
	for i, c := range e.columns {
		dst = append(dst, e.keys[i]...)
		dst = appendValue(dst, c, row)
	}
	dst = append(dst, `},"latency_us":`...)
	dst = strconv.AppendInt(dst, latencyUS, 10)
	dst = append(dst, `,"queue_us":`...)
	if queueUS == schemas.UnknownQueue {
		return append(dst, "null}"...)
	}
	dst = strconv.AppendInt(dst, queueUS, 10)
	return append(dst, '}')
}

// resultColumns are what results are made of.
type resultColumns struct {
	ids     *array.String
	columns []arrow.Array // of the predictions
}

func newResultColumns(m *schemas.Manifest) resultColumns {
	return resultColumns{columns: make([]arrow.Array, len(m.Outputs))}
}

// Bind sets the batch (Manifest.RequestSchema) and its predictions (Manifest.OutputFields)
// that results are made of. They are borrowed until the next Bind.
func (c *resultColumns) Bind(batch, predictions arrow.Record) {
	c.ids = batch.Column(batch.Schema().FieldIndices(schemas.ColumnRequestID)[0]).(*array.String)
	for i := range c.columns {
		c.columns[i] = predictions.Column(i)
	}
}

// appendValue appends one prediction. Runtimes give no NaN and no infinity: such rows fail
// as invalid_prediction.
func appendValue(dst []byte, c arrow.Array, row int) []byte {
	if c.IsNull(row) {
		return append(dst, "null"...)
	}
	switch c := c.(type) {
	case *array.Float32:
		return strconv.AppendFloat(dst, float64(c.Value(row)), 'g', -1, 32)
	case *array.Float64:
		return strconv.AppendFloat(dst, c.Value(row), 'g', -1, 64)
	case *array.Int32:
		return strconv.AppendInt(dst, int64(c.Value(row)), 10)
	case *array.Int64:
		return strconv.AppendInt(dst, c.Value(row), 10)
	case *array.Boolean:
		return strconv.AppendBool(dst, c.Value(row))
	case *array.String:
		return appendString(dst, c.Value(row))
	default:
		return append(dst, "null"...)
	}
}

// appendString appends s, which is valid UTF-8, as a JSON string.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		if start = i + 1; c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

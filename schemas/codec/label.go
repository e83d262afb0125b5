package codec

import (
	"math"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// MaxLabelClassBytes bounds a label that is a string. Classes are a LowCardinality column,
// which long strings would bloat.
const MaxLabelClassBytes = 256

// Label is one feedback record: what was observed about a request. Its slices point into
// the record or into the decoder, and are valid until the next call of Decode.
type Label struct {
	Model      []byte
	RequestID  []byte
	Class      []byte  // of a label that is a string
	Value      float64 // of any other; false and true are 0 and 1
	IsClass    bool
	ObservedAt int64 // microseconds since 1970
}

// Fields of feedback, beside the request id.
const (
	fieldModel      = "model"
	fieldLabel      = "label"
	fieldObservedAt = "observed_at"
)

// labelKeys are the fields in the order of their bits in labelFields.
var labelKeys = [...]struct{ name, literal string }{
	{fieldRequestID, literalKey(fieldRequestID)},
	{fieldModel, literalKey(fieldModel)},
	{fieldLabel, literalKey(fieldLabel)},
	{fieldObservedAt, literalKey(fieldObservedAt)},
}

// labelFields is a set of the fields of feedback.
type labelFields uint8

const (
	hasRequestID labelFields = 1 << iota
	hasModel
	hasLabel
	hasObservedAt
)

// LabelDecoder reads feedback. The zero value is ready.
type LabelDecoder struct {
	scan  scanner
	value value       // that was read last
	seen  labelFields // in this object
	given labelFields // those of them that are not null
}

// Decode reads the label of a Kafka record into out, or says why it cannot be used. The
// request id is the record's key where the object has none, and the label was observed at
// the record's timestamp unless the object says otherwise. Keys that feedback does not
// have are ignored. After an error out is of no use.
func (d *LabelDecoder) Decode(rec *schemas.Record, out *Label) *schemas.RequestError {
	*out = Label{RequestID: rec.Key, ObservedAt: schemas.ClampMicros(rec.Timestamp)}
	d.seen, d.given = 0, 0
	d.scan.reset(rec.Value)
	empty, err := d.scan.open()
	if err != nil {
		return err
	}
	for more, at := !empty, 0; more; at++ {
		if err := d.member(at, out); err != nil {
			return err
		}
		if more, err = d.scan.next(); err != nil {
			return err
		}
	}
	switch {
	case d.given&hasModel == 0:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is absent or null", fieldModel)
	case d.given&hasLabel == 0:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is absent or null", fieldLabel)
	}
	return d.checkID(out.RequestID)
}

func (d *LabelDecoder) checkID(id []byte) *schemas.RequestError {
	given := d.given&hasRequestID != 0
	switch {
	case len(id) == 0 && given:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is empty", fieldRequestID)
	case len(id) == 0:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is absent or null and the record has no key", fieldRequestID)
	case len(id) > MaxRequestIDBytes:
		return schemas.Errorf(schemas.ErrorClassOutOfRange, "the request id has %d bytes; at most %d are allowed", len(id), MaxRequestIDBytes)
	case !given && !utf8.Valid(id):
		return malformed("%q is absent or null and the record's key is not valid UTF-8", fieldRequestID)
	}
	return nil
}

// member reads one key and its value. at is its place in the object: most producers keep
// to the order of labelKeys.
func (d *LabelDecoder) member(at int, out *Label) *schemas.RequestError {
	if at < len(labelKeys) && d.scan.keyIs(labelKeys[at].literal) {
		return d.fill(labelKeys[at].name, 1<<at, out)
	}
	key, err := d.scan.key()
	if err != nil {
		return err
	}
	for i := range labelKeys {
		if string(key) == labelKeys[i].name {
			return d.fill(labelKeys[i].name, 1<<i, out)
		}
	}
	return d.scan.unknown(key)
}

// fill reads the value of a field into the label.
func (d *LabelDecoder) fill(name string, f labelFields, out *Label) *schemas.RequestError {
	if d.seen&f != 0 {
		return schemas.Errorf(schemas.ErrorClassDuplicateKey, "key %q stands twice", name)
	}
	d.seen |= f
	v := &d.value
	if err := d.scan.value(name, v); err != nil || v.kind == kindNull {
		return err
	}
	d.given |= f
	switch f {
	case hasRequestID:
		if v.kind != kindString && v.kind != kindNumber {
			return wrongType(name, "a string or a number", v)
		}
		out.RequestID = v.text
	case hasModel:
		if v.kind != kindString || !schemas.ValidModelName(str(v.text)) {
			return wrongType(name, "a model name", v)
		}
		out.Model = v.text
	case hasLabel:
		return out.parse(name, v)
	case hasObservedAt:
		return out.parseTime(name, v)
	}
	return nil
}

// parse puts the observed value into the label.
func (l *Label) parse(name string, v *value) *schemas.RequestError {
	switch v.kind {
	case kindString:
		if len(v.text) > MaxLabelClassBytes {
			return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q has %d bytes; at most %d are allowed", name, len(v.text), MaxLabelClassBytes)
		}
		l.IsClass, l.Class = true, v.text
	case kindNumber:
		x, ok := v.float(64)
		if !ok {
			return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, which does not fit %s", name, clip(v.text), schemas.TypeFloat64)
		}
		l.Value = x
	default:
		if v.bool {
			l.Value = 1
		}
	}
	return nil
}

// parseTime puts the time of the observation into the label.
func (l *Label) parseTime(name string, v *value) *schemas.RequestError {
	const want = "a number of milliseconds since 1970 or a time in RFC 3339, like 2001-02-03T04:05:06Z"
	var us int64
	switch v.kind {
	case kindString:
		var ok bool
		if us, ok = new(zone).parse(v.text); !ok {
			return wrongType(name, want, v)
		}
	case kindNumber:
		// Milliseconds are most often whole; fractions reach down to microseconds.
		if n, ok := v.int(); ok && n >= schemas.MinMicros/1000 && n <= schemas.MaxMicros/1000 {
			us = n * 1000
			break
		}
		x, ok := v.float(64)
		if !ok || math.Abs(x) > 1e14 {
			return outOfTime(name, v.text)
		}
		us = int64(math.Round(x * 1e3))
	default:
		return wrongType(name, want, v)
	}
	if us < schemas.MinMicros || us > schemas.MaxMicros {
		return outOfTime(name, v.text)
	}
	l.ObservedAt = us
	return nil
}

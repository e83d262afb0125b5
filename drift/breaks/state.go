package breaks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/millrace/millrace/drift/detect"
	"github.com/millrace/millrace/schemas"
)

// ErrState is returned for bytes that are not a saved state: cut, corrupt, of another version of
// the model or of the format, or with figures that no runner can have.
var ErrState = errors.New("not the state of the breaks of this version")

// stateFormat is the format of a saved state: a line with the format and the CRC-32 (IEEE, 8
// hexadecimal digits) of what follows, which is a savedRunner as JSON.
const stateFormat = "millrace breaks 1"

type savedRunner struct {
	Model    string                 `json:"model"`
	Version  string                 `json:"version"`
	Repeated int64                  `json:"repeated"`
	At       map[Feed][]savedPlace  `json:"at"`
	Streams  map[string]savedStream `json:"streams"` // by key
}

type savedPlace struct {
	TopicID   uuid.UUID `json:"topic_id"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Row       int32     `json:"row"`
}

type savedStream struct {
	Counts
	Detector []byte    `json:"detector"`
	Scale    float64   `json:"scale"`
	Errors   []float64 `json:"errors,omitempty"`
	Values   int64     `json:"values"` // those of the levels: since the start or the last break
	OlderSum float64   `json:"older_sum"`
	Recent   []float64 `json:"recent,omitempty"`
}

// MarshalBinary saves all of a runner but its manifest: equal runners have equal bytes.
func (r *Runner) MarshalBinary() ([]byte, error) {
	saved := savedRunner{
		Model: r.manifest.Name, Version: r.manifest.Version, Repeated: r.repeated,
		At: map[Feed][]savedPlace{}, Streams: map[string]savedStream{},
	}
	for _, f := range []Feed{FeedLabels, FeedRows} {
		for _, c := range r.Position(f) {
			saved.At[f] = append(saved.At[f], savedPlace{c.TopicID, c.Partition, c.Offset, c.Row})
		}
	}
	for _, s := range r.streams {
		state, err := s.detector.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("save %s on %s: %w", s.plan.Detector, s.plan.On, err)
		}
		saved.Streams[s.key] = savedStream{
			Counts: s.counts, Detector: state, Scale: s.scale, Errors: s.errors,
			Values: s.levels.n, OlderSum: s.levels.sum, Recent: s.levels.last(),
		}
	}
	text, err := json.Marshal(saved)
	if err != nil {
		return nil, fmt.Errorf("save breaks of %s version %s: %w", r.manifest.Name, r.manifest.Version, err)
	}
	return append(header(text), text...), nil
}

func header(text []byte) []byte {
	return fmt.Appendf(nil, "%s %08x\n", stateFormat, crc32.ChecksumIEEE(text))
}

// Restore returns the runner that was saved in state. A detector that the manifest names with
// other parameters, or that it did not name then, starts anew at the position that was saved.
func Restore(m *schemas.Manifest, state []byte) (*Runner, error) {
	r, err := New(m)
	if err != nil {
		return nil, err
	}
	_, text, _ := bytes.Cut(state, []byte("\n"))
	if !bytes.HasPrefix(state, header(text)) {
		return nil, fmt.Errorf("%w: no header %q with the checksum of what follows", ErrState, stateFormat)
	}
	var saved savedRunner
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&saved); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if saved.Model != m.Name || saved.Version != m.Version {
		return nil, fmt.Errorf("%w: it is of %s version %s", ErrState, saved.Model, saved.Version)
	}
	for f, places := range saved.At {
		if _, ok := r.at[f]; !ok {
			return nil, fmt.Errorf("%w: feed %q", ErrState, f)
		}
		for _, p := range places {
			r.Skip(f, schemas.Coordinates{TopicID: p.TopicID, Partition: p.Partition, Offset: p.Offset, Row: p.Row})
		}
	}
	r.repeated = saved.Repeated
	for _, s := range r.streams {
		of, ok := saved.Streams[s.key]
		if !ok {
			continue
		}
		if err := s.restore(of); err != nil {
			return nil, fmt.Errorf("%w: %s on %s: %w", ErrState, s.plan.Detector, s.plan.On, err)
		}
	}
	return r, nil
}

func (s *stream) restore(of savedStream) error {
	d, err := detect.Restore(of.Detector)
	switch c := of.Counts; {
	case err != nil:
		return err
	case d.Kind() != s.plan.Detector:
		return fmt.Errorf("a detector of kind %s", d.Kind())
	case c.Taken != d.Seen() || c.Breaks != d.Detections() || min(c.Missing, c.Refused, c.Learning) < 0:
		return errors.New("impossible counts")
	case of.Values < 0 || of.Values > c.Taken || int64(len(of.Recent)) != min(of.Values, recentValues):
		return errors.New("impossible number of values")
	case math.Abs(of.OlderSum) > 1e140*float64(of.Values):
		return errors.New("impossible sum of values")
	}
	if !s.scaled {
		if of.Scale != 0 || len(of.Errors) > 0 {
			return errors.New("a scale, of what has none")
		}
	} else if err := s.restoreScale(of); err != nil {
		return err
	}
	s.detector, s.counts = d, of.Counts
	s.levels = levels{n: of.Values, older: max(0, of.Values-recentValues), sum: of.OlderSum}
	for i, x := range of.Recent {
		s.levels.recent[(s.levels.older+int64(i))%recentValues] = x
	}
	return nil
}

func (s *stream) restoreScale(of savedStream) error {
	switch {
	case s.plan.Scale != 0:
		if of.Scale != s.plan.Scale || len(of.Errors) > 0 {
			return errors.New("another scale")
		}
	case of.Scale == 0:
		if len(of.Errors) >= scaleErrors || int64(len(of.Errors)) != of.Learning || slices.Min(append([]float64{0}, of.Errors...)) < 0 || of.Taken > 0 {
			return errors.New("impossible errors")
		}
	case of.Scale < minScale || of.Scale > maxError || len(of.Errors) > 0 || of.Learning != scaleErrors:
		return errors.New("impossible scale")
	}
	s.scale, s.errors = of.Scale, of.Errors
	return nil
}

package schemas

import "fmt"

// MaxSegments bounds Monitoring.Segments: each of them is counted as all rows are.
const MaxSegments = 8

// validateSegments checks monitoring.segments.
func (m *Manifest) validateSegments(v *violations) {
	segments := m.Monitoring.Segments
	if len(segments) > MaxSegments {
		v.add("monitoring.segments", "at most %d, got %d", MaxSegments, len(segments))
	}
	seen := map[string]bool{}
	for i, name := range segments {
		key := fmt.Sprintf("monitoring.segments[%d]", i)
		if seen[name] {
			v.add(key, "%q stands twice", name)
		}
		seen[name] = true
		f, ok := m.Feature(name)
		if !ok {
			v.add(key, "%q is no feature", name)
			continue
		}
		switch f.Type {
		case TypeString, TypeCategory, TypeBool:
		case TypeInt32, TypeInt64, TypeFloat32, TypeFloat64:
			v.add(key, "%q is %s; rows are divided by a feature of type string, category or bool", name, f.Type)
		default: // told at the feature
		}
	}
}

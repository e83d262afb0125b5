package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// ManifestEdit changes the text of a manifest and leaves comments, order and layout of all
// else as they are. What it makes is to be parsed by ParseManifest: it checks nothing but
// that the text is YAML in which the places lie that it changes.
type ManifestEdit struct {
	lines []string
	root  *ast.MappingNode
}

// EditManifest begins to change a text, which need not be a valid manifest yet.
func EditManifest(text []byte) (*ManifestEdit, error) {
	e := &ManifestEdit{lines: strings.Split(strings.TrimRight(string(text), "\n"), "\n")}
	return e, e.parse()
}

// Text returns the changed text.
func (e *ManifestEdit) Text() []byte { return []byte(strings.Join(e.lines, "\n") + "\n") }

// parse finds the places anew, after a change.
func (e *ManifestEdit) parse() (err error) {
	defer func() { // the parser panics on some texts that are no YAML
		if p := recover(); p != nil {
			err = fmt.Errorf("edit manifest: not readable as YAML: %v", p)
		}
	}()
	file, err := parseChecked(e.Text())
	if err != nil {
		return fmt.Errorf("edit manifest: %w", err)
	}
	if len(file.Docs) != 1 {
		return errors.New("edit manifest: it is not one YAML document")
	}
	switch body := file.Docs[0].Body.(type) {
	case *ast.MappingNode:
		e.root = body
	case *ast.MappingValueNode:
		e.root = ast.Mapping(body.Start, false, body)
	default:
		return errors.New("edit manifest: it is no mapping of keys")
	}
	if e.root.IsFlowStyle {
		return errors.New("edit manifest: it is written between braces; write one key a line")
	}
	return nil
}

// mapping returns the entries of a mapping; nil for anything else.
func mapping(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	default:
		return nil
	}
}

// entry returns the entry of a key; nil where there is none.
func entry(entries []*ast.MappingValueNode, key string) *ast.MappingValueNode {
	for _, v := range entries {
		if v.Key.GetToken().Value == key {
			return v
		}
	}
	return nil
}

// Has tells whether the manifest has a key at its top.
func (e *ManifestEdit) Has(key string) bool { return entry(e.root.Values, key) != nil }

// Set puts a scalar under a key at the top, in place of what scalar is there, or below the key
// after.
func (e *ManifestEdit) Set(key, value, after string) error {
	if v := entry(e.root.Values, key); v != nil {
		return e.replace(v, value)
	}
	v := entry(e.root.Values, after)
	if v == nil {
		return fmt.Errorf("edit manifest: it has neither %s nor %s", key, after)
	}
	return e.insert(e.lastLine(v.Value)+1, key+": "+value)
}

// Remove removes a key at the top with all that is under it, and the comments in it.
func (e *ManifestEdit) Remove(key string) error {
	start, end, ok := e.section(key)
	if !ok {
		return nil
	}
	e.lines = slices.Delete(e.lines, start, end)
	blank := func(i int) bool { return i < 0 || i >= len(e.lines) || e.lines[i] == "" }
	if start < len(e.lines) && blank(start) && blank(start-1) { // one of the two that are left
		e.lines = slices.Delete(e.lines, start, start+1)
	}
	return e.parse()
}

// RemoveIn removes a key of a mapping at the top with all that is under it, where it begins a line.
func (e *ManifestEdit) RemoveIn(section, key string) error {
	s := entry(e.root.Values, section)
	if s == nil {
		return nil
	}
	m, ok := s.Value.(*ast.MappingNode)
	if !ok {
		return fmt.Errorf("edit manifest: %s is no mapping", section)
	}
	v := entry(m.Values, key)
	if v == nil {
		return nil
	}
	first := line(v.Key.GetToken())
	if !strings.HasPrefix(strings.TrimSpace(e.lines[first]), key) {
		return fmt.Errorf("edit manifest: line %d: %s of %s does not begin a line: take it out by hand", first+1, key, section)
	}
	e.lines = slices.Delete(e.lines, first, e.lastLine(v.Value)+1)
	return e.parse()
}

// CommentOut makes comments of a key at the top and of all that is under it, below a line that
// says why.
func (e *ManifestEdit) CommentOut(key, why string) error {
	start, end, ok := e.section(key)
	if !ok {
		return nil
	}
	for i := start; i < end; i++ {
		if e.lines[i] != "" {
			e.lines[i] = "# " + e.lines[i]
		}
	}
	return e.insert(start, "# "+why)
}

// SetSection writes a key at the top with all that is under it, in lines: in place of what the
// key has; or in place of the paragraph of comments that shows such a section; or at the end.
func (e *ManifestEdit) SetSection(key string, lines ...string) error {
	if start, end, ok := e.section(key); ok {
		e.lines = slices.Replace(e.lines, start, end, lines...)
		return e.parse()
	}
	if start, end, ok := e.template(key); ok {
		e.lines = slices.Replace(e.lines, start, end, lines...)
		return e.parse()
	}
	return e.insert(len(e.lines), append([]string{""}, lines...)...)
}

// section returns the lines [start, end) of a key at the top: up to the next key, but not
// the blank lines and comments above that one.
func (e *ManifestEdit) section(key string) (start, end int, ok bool) {
	i := slices.IndexFunc(e.root.Values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == key })
	if i < 0 {
		return 0, 0, false
	}
	start, end = line(e.root.Values[i].Key.GetToken()), len(e.lines)
	if i+1 < len(e.root.Values) {
		end = line(e.root.Values[i+1].Key.GetToken())
	}
	for end > start+1 && (e.lines[end-1] == "" || strings.HasPrefix(e.lines[end-1], "#")) {
		end--
	}
	return start, end, true
}

// template returns the lines of the paragraph of comments that has "# key:" in it.
func (e *ManifestEdit) template(key string) (start, end int, ok bool) {
	start = slices.IndexFunc(e.lines, func(l string) bool { return strings.HasPrefix(l, "# "+key+":") })
	if start < 0 {
		return 0, 0, false
	}
	for end = start; end < len(e.lines) && strings.HasPrefix(e.lines[end], "#"); end++ {
	}
	for start > 0 && strings.HasPrefix(e.lines[start-1], "#") {
		start--
	}
	return start, end, true
}

// line is the index of the line that a token stands in.
func line(t *token.Token) int { return t.Position.Line - 1 }

// lastLine is the index of the last line of a node.
func (e *ManifestEdit) lastLine(n ast.Node) int {
	last := line(n.GetToken())
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			last = max(last, e.lastLine(v))
		}
		if n.End != nil {
			last = max(last, line(n.End))
		}
	case *ast.MappingValueNode:
		last = max(last, line(n.Key.GetToken()), e.lastLine(n.Value))
	case *ast.SequenceNode:
		for _, v := range n.Values {
			last = max(last, e.lastLine(v))
		}
		if n.End != nil {
			last = max(last, line(n.End))
		}
	}
	return last
}

func (e *ManifestEdit) insert(at int, lines ...string) error {
	e.lines = slices.Insert(e.lines, at, lines...)
	return e.parse()
}

// place returns where a scalar stands in its line, as bytes [from, to).
func (e *ManifestEdit) place(n ast.Node) (at, from, to int, err error) {
	t := n.GetToken()
	at = line(t)
	raw := strings.TrimSpace(t.Origin)
	runes := []rune(e.lines[at])
	if column := t.Position.Column - 1; column >= 0 && column <= len(runes) {
		from = len(string(runes[:column]))
		if raw != "" && strings.HasPrefix(e.lines[at][from:], raw) {
			return at, from, from + len(raw), nil
		}
	}
	return 0, 0, 0, fmt.Errorf("edit manifest: line %d: %q is not a value that can be changed in its place", at+1, raw)
}

// replace puts a scalar in the place of an entry's scalar.
func (e *ManifestEdit) replace(v *ast.MappingValueNode, value string) error {
	if v.Value.Type() == ast.NullType { // nothing after the colon, or a null
		at := line(v.Key.GetToken())
		head, tail, _ := strings.Cut(e.lines[at], v.Key.GetToken().Value+":")
		tail = strings.TrimSpace(tail)
		for _, null := range []string{"null", "~"} {
			tail = strings.TrimSpace(strings.TrimPrefix(tail, null))
		}
		e.lines[at] = strings.TrimRight(head+v.Key.GetToken().Value+": "+value+" "+tail, " ")
		return e.parse()
	}
	at, from, to, err := e.place(v.Value)
	if err != nil {
		return err
	}
	e.lines[at] = e.lines[at][:from] + value + e.lines[at][to:]
	return e.parse()
}

// setIn puts a scalar, or a list between brackets, under a key of a mapping: in place of what
// is there, or below the entry after, in its style.
func (e *ManifestEdit) setIn(entries []*ast.MappingValueNode, key, value, after string) error {
	if v := entry(entries, key); v != nil {
		return e.replace(v, value)
	}
	v := entry(entries, after)
	if v == nil {
		return fmt.Errorf("edit manifest: no %s to write %s below", after, key)
	}
	at, column := line(v.Key.GetToken()), v.Key.GetToken().Position.Column-1
	if strings.Trim(e.lines[at][:min(column, len(e.lines[at]))], " -") == "" {
		return e.insert(e.lastLine(v.Value)+1, strings.Repeat(" ", column)+key+": "+value)
	}
	at, _, to, err := e.place(v.Value) // between braces
	if err != nil {
		return err
	}
	e.lines[at] = e.lines[at][:to] + ", " + key + ": " + value + e.lines[at][to:]
	return e.parse()
}

// feature returns the entries of a feature.
func (e *ManifestEdit) feature(name string) ([]*ast.MappingValueNode, error) {
	return e.named("features", name)
}

func (e *ManifestEdit) named(key, name string) ([]*ast.MappingValueNode, error) {
	if v := entry(e.root.Values, key); v != nil {
		if list, ok := v.Value.(*ast.SequenceNode); ok {
			for _, item := range list.Values {
				if n := entry(mapping(item), "name"); n != nil && n.Value.GetToken().Value == name {
					return mapping(item), nil
				}
			}
		}
	}
	return nil, fmt.Errorf("edit manifest: it has no %q under %s", name, key)
}

// SetFeature puts a value, as YAML, under a key of a feature.
func (e *ManifestEdit) SetFeature(name, key, value string) error {
	entries, err := e.feature(name)
	if err != nil {
		return err
	}
	after := "type"
	if entry(entries, after) == nil {
		after = "name"
	}
	return e.setIn(entries, key, value, after)
}

// RenameFeature gives a feature another name, also where inputs list it, and drops the comment
// behind the name, which is of the old one.
func (e *ManifestEdit) RenameFeature(name, to string) error {
	entries, err := e.feature(name)
	if err != nil {
		return err
	}
	at := line(entry(entries, "name").Value.GetToken())
	if err := e.replace(entry(entries, "name"), YAMLText(to)); err != nil {
		return err
	}
	if i := strings.Index(e.lines[at], " # "); i > 0 {
		e.lines[at] = strings.TrimRight(e.lines[at][:i], " ")
	}
	if err := e.parse(); err != nil {
		return err
	}
	inputs := entry(e.root.Values, "inputs")
	if inputs == nil {
		return nil
	}
	list, ok := inputs.Value.(*ast.SequenceNode)
	if !ok {
		return nil
	}
	for _, item := range list.Values {
		v := entry(mapping(item), "features")
		if v == nil {
			continue
		}
		names, ok := v.Value.(*ast.SequenceNode)
		if !ok {
			continue
		}
		for _, n := range names.Values {
			if n.GetToken().Value != name {
				continue
			}
			at, from, until, err := e.place(n)
			if err != nil {
				return err
			}
			e.lines[at] = e.lines[at][:from] + YAMLText(to) + e.lines[at][until:]
			return e.parse()
		}
	}
	return nil
}

// RemoveFeature removes a feature that is written over lines of its own.
func (e *ManifestEdit) RemoveFeature(name string) error {
	entries, err := e.feature(name)
	if err != nil {
		return err
	}
	first, last := line(entries[0].Key.GetToken()), 0
	for _, v := range entries {
		last = max(last, e.lastLine(v))
	}
	if !strings.HasPrefix(strings.TrimSpace(e.lines[first]), "- ") {
		return fmt.Errorf("edit manifest: line %d: feature %q does not begin a line", first+1, name)
	}
	e.lines = slices.Delete(e.lines, first, last+1)
	return e.parse()
}

// AddFeature adds a feature behind the last one; comment stands behind its name.
func (e *ManifestEdit) AddFeature(name string, typ FeatureType, comment string) error {
	v := entry(e.root.Values, "features")
	if v == nil {
		return errors.New("edit manifest: it has no features")
	}
	list, ok := v.Value.(*ast.SequenceNode)
	if !ok || list.IsFlowStyle || len(list.Values) == 0 {
		return errors.New("edit manifest: its features are not one below the other")
	}
	first := e.lines[line(list.Values[0].GetToken())]
	for i := line(v.Key.GetToken()) + 1; i < len(e.lines); i++ { // the token may be one behind the dash
		if strings.HasPrefix(strings.TrimSpace(e.lines[i]), "- ") {
			first = e.lines[i]
			break
		}
	}
	indent, _, _ := strings.Cut(first, "-")
	if comment != "" {
		comment = " # " + comment
	}
	return e.insert(e.lastLine(v.Value)+1, indent+"- name: "+YAMLText(name)+comment, indent+"  type: "+string(typ))
}

// Section returns the lines of a key at the top with all that is under it; nil where there is none.
func (e *ManifestEdit) Section(key string) []string {
	start, end, ok := e.section(key)
	if !ok {
		return nil
	}
	return slices.Clone(e.lines[start:end])
}

// FixDigests writes the SHA-256 of every file that the manifest names into it, by digest,
// which is given the name of a file beside the manifest. It returns the files whose digest
// was missing or another one.
func (e *ManifestEdit) FixDigests(digest func(file string) (string, error)) (fixed []string, err error) {
	fix := func(of func() []*ast.MappingValueNode) error {
		entries := of()
		f := entry(entries, "file")
		if f == nil {
			return nil
		}
		name := f.Value.GetToken().Value
		sum, err := digest(name)
		if err != nil {
			return err
		}
		if v := entry(entries, "sha256"); v != nil && v.Value.GetToken().Value == sum {
			return nil
		}
		fixed = append(fixed, name)
		return e.setIn(entries, "sha256", sum, "file")
	}
	for _, key := range []string{"artifact", "reference", "sample"} {
		top := func() []*ast.MappingValueNode {
			if v := entry(e.root.Values, key); v != nil {
				return mapping(v.Value)
			}
			return nil
		}
		if err := fix(top); err != nil {
			return fixed, err
		}
		external := func() []ast.Node {
			if v := entry(top(), "external"); v != nil {
				if list, ok := v.Value.(*ast.SequenceNode); ok {
					return list.Values
				}
			}
			return nil
		}
		for i := range external() {
			if err := fix(func() []*ast.MappingValueNode { return mapping(external()[i]) }); err != nil {
				return fixed, err
			}
		}
	}
	return fixed, nil
}

// YAMLText writes text as a YAML scalar that is read as that text: as it is where it is a plain
// word, else between quotation marks.
func YAMLText(text string) string {
	switch strings.ToLower(text) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
	default:
		if columnName.MatchString(text) {
			return text
		}
	}
	quoted, _ := json.Marshal(text) // never fails on a string
	return string(quoted)
}

// YAMLNumber writes a number so that it is read as it is.
func YAMLNumber(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// Undecided returns the keys of the section that no data decides, as they stand below monitoring in
// a manifest: those of the plan that a person has made.
func (mon *Monitoring) Undecided() []string {
	text, err := yaml.Marshal(struct {
		Windows     []Windows        `yaml:"windows,omitempty"`
		Retraining  RetrainingPolicy `yaml:"retraining,omitempty"`
		FalseAlarms *FalseAlarms     `yaml:"false_alarms,omitempty"`
		Segments    []string         `yaml:"segments,omitempty"`
		Breaks      []BreakDetector  `yaml:"breaks,omitempty"`
	}{mon.Windows, mon.Retraining, mon.FalseAlarms, mon.Segments, mon.Breaks})
	if err != nil {
		panic(err) // of a section that was read
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "{}" {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}

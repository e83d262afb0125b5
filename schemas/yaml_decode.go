package schemas

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// YAMLError says what is wrong in a YAML text, and where. It names keys and kinds as they are
// written, never Go's types.
type YAMLError struct {
	Line, Column int
	What         string
}

func (e *YAMLError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.What)
}

func yamlErrorAt(t *token.Token, format string, args ...any) *YAMLError {
	e := &YAMLError{What: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}

// syntaxError turns an error of the YAML library into ours.
func syntaxError(err error) error {
	var typed *yaml.TypeError
	var overflow *yaml.OverflowError
	var other yaml.Error
	switch {
	case errors.As(err, &typed):
		return yamlErrorAt(typed.Token, "%s cannot stand here", kindOf(typed.Token))
	case errors.As(err, &overflow):
		return yamlErrorAt(overflow.Token, "%s is too large", overflow.SrcNum)
	case errors.As(err, &other):
		return yamlErrorAt(other.GetToken(), "%s", other.GetMessage())
	default:
		return errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
}

func kindOf(t *token.Token) string {
	if t == nil {
		return "this value"
	}
	return strconv.Quote(t.Value)
}

// ParseYAML checks a YAML text (see CheckYAML) and returns the bodies of its documents, without
// those that are empty. Aliases and merged mappings (<<) are what they stand for.
func ParseYAML(text []byte) (docs []ast.Node, err error) {
	defer func() { // lexer and parser panic on some texts that are no YAML
		if p := recover(); p != nil {
			docs, err = nil, fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	file, err := parseChecked([]byte(strings.TrimPrefix(string(text), "\ufeff")))
	if err != nil {
		return nil, err
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		r := resolver{anchors: map[string]ast.Node{}}
		body, err := r.resolve(doc.Body)
		if err != nil {
			return nil, err
		}
		docs = append(docs, body)
	}
	return docs, nil
}

// DecodeYAML reads a YAML text of at most one document strictly: a key that into does not have, a
// value of another kind and a key that stands twice are errors, which say where.
func DecodeYAML(text []byte, into any) error {
	docs, err := ParseYAML(text)
	switch {
	case err != nil:
		return err
	case len(docs) > 1:
		return yamlErrorAt(docs[1].GetToken(), "a second document; write one")
	case len(docs) == 0:
		return errors.New("it is empty")
	}
	return DecodeYAMLNode(docs[0], into, "")
}

// DecodeYAMLNode is DecodeYAML for a node of ParseYAML, which it may change. key is what it stands
// under, for errors.
func DecodeYAMLNode(node ast.Node, into any, key string) (err error) {
	defer func() { // the decoder panics on some broken input
		if p := recover(); p != nil {
			err = fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	node, err = conform(node, reflect.TypeOf(into), key)
	if err != nil {
		return err
	}
	if err := yaml.NodeToValue(node, into, yaml.Strict()); err != nil {
		return syntaxError(err)
	}
	return nil
}

// plainInFlow mends what the lexer makes of a colon in a flow sequence that stands within a flow
// mapping, as in {brokers: [127.0.0.1:9092]}: it splits the text there. In YAML a colon ends a plain
// text only where white space or one of ,[]{} follows.
func plainInFlow(text string, tokens token.Tokens) token.Tokens {
	var open []token.Type
	var lines [][]rune
	var out token.Tokens
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type { //nolint:exhaustive // no other token opens or closes a flow collection
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t.Type)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(0, len(open)-1)]
		case token.MappingValueType:
			if len(open) < 2 || open[len(open)-1] != token.SequenceStartType || len(out) == 0 {
				break
			}
			if lines == nil {
				for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r", " "), "\n") {
					lines = append(lines, []rune(line))
				}
			}
			before := out[len(out)-1]
			whole, end := plainText(lines, before, t.Position)
			if end == 0 {
				break
			}
			for i+1 < len(tokens) && tokens[i+1].Position.Line == t.Position.Line && tokens[i+1].Position.Column <= end {
				i++
			}
			out[len(out)-1] = token.String(whole, whole, before.Position)
			continue
		}
		out = append(out, t)
	}
	linked := make(token.Tokens, 0, len(out))
	for _, t := range out {
		t.Prev, t.Next = nil, nil
		linked.Add(t)
	}
	return linked
}

// plainText returns the plain text within a flow collection that begins with the token before, where
// the colon behind it is part of it, and the column behind which it ends; else 0.
func plainText(lines [][]rune, before *token.Token, colon *token.Position) (whole string, end int) {
	begin := before.Position
	if before.Indicator != token.NotIndicator || begin.Line != colon.Line || begin.Line > len(lines) {
		return "", 0
	}
	line, from := lines[begin.Line-1], begin.Column-1
	at := from + len([]rune(before.Value))
	if from < 0 || at != colon.Column-1 || at+1 >= len(line) || line[at] != ':' || endsPlain(line, at) {
		return "", 0
	}
	for at < len(line) && !strings.ContainsRune(",[]{}", line[at]) && (line[at] != ':' || !endsPlain(line, at)) &&
		(line[at] != '#' || line[at-1] != ' ' && line[at-1] != '\t') {
		at++
	}
	return strings.TrimRight(string(line[from:at]), " \t"), at
}

// endsPlain tells whether the colon at that place ends a plain text within a flow collection.
func endsPlain(line []rune, at int) bool {
	return at+1 >= len(line) || strings.ContainsRune(" \t,[]{}", line[at+1])
}

// resolver puts what anchors name in the place of aliases, and merges mappings.
type resolver struct{ anchors map[string]ast.Node }

func (r *resolver) resolve(node ast.Node) (ast.Node, error) {
	var err error
	switch n := node.(type) {
	case *ast.AnchorNode:
		if n.Value, err = r.resolve(n.Value); err != nil {
			return nil, err
		}
		r.anchors[n.Name.String()] = n.Value
		return n.Value, nil
	case *ast.AliasNode:
		of, ok := r.anchors[n.Value.String()]
		if !ok {
			return nil, yamlErrorAt(n.GetToken(), "alias *%s names no anchor that stands before it", n.Value.String())
		}
		return of, nil
	case *ast.TagNode:
		n.Value, err = r.resolve(n.Value)
	case *ast.SequenceNode:
		for i := range n.Values {
			if n.Values[i], err = r.resolve(n.Values[i]); err != nil {
				return nil, err
			}
		}
	case *ast.MappingValueNode:
		if n.Key.IsMergeKey() {
			return r.resolve(ast.Mapping(n.GetToken(), false, n))
		}
		n.Value, err = r.resolve(n.Value)
	case *ast.MappingNode:
		err = r.merge(n)
	}
	return node, err
}

// merge resolves the values of a mapping and puts in what it merges: keys of its own come first, then
// those of what is named first.
func (r *resolver) merge(n *ast.MappingNode) error {
	var own, merged []*ast.MappingValueNode
	for _, v := range n.Values {
		value, err := r.resolve(v.Value)
		if err != nil {
			return err
		}
		if !v.Key.IsMergeKey() {
			v.Value = value
			own = append(own, v)
			continue
		}
		from := []ast.Node{value}
		if s, ok := value.(*ast.SequenceNode); ok {
			from = s.Values
		}
		for _, f := range from {
			values, ok := entries(f)
			if !ok {
				return yamlErrorAt(v.Value.GetToken(), "<< merges mappings, and this is %s", described(f))
			}
			merged = append(merged, values...)
		}
	}
	if len(merged) == 0 {
		n.Values = own
		return nil
	}
	seen := map[string]bool{}
	for _, v := range own {
		seen[v.Key.String()] = true
	}
	for _, v := range merged {
		if key := v.Key.String(); !seen[key] {
			seen[key] = true
			own = append(own, ast.MappingValue(v.Start, v.Key, v.Value)) // a node of its own: see conform
		}
	}
	n.Values = own
	return nil
}

func entries(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

// described says what a node is. Of what may be an address it shows no more than PublicAddress does.
func described(node ast.Node) string {
	switch n := node.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.LiteralNode:
		return "a text"
	case *ast.NullNode:
		return "nothing"
	default:
		text := n.GetToken().Value
		if strings.Contains(text, "://") || strings.ContainsAny(text, "@?") {
			text = PublicAddress(text)
		}
		if len(text) > 80 {
			text = text[:80] + "…"
		}
		return strconv.Quote(text)
	}
}

var (
	durationType    = reflect.TypeFor[time.Duration]()
	ownDurationType = reflect.TypeFor[Duration]()
	unmarshalers    = []reflect.Type{reflect.TypeFor[yaml.BytesUnmarshaler](), reflect.TypeFor[yaml.InterfaceUnmarshaler]()}
)

// conform checks that a node can become a Go value of type t, and returns the node to decode: where
// t has a string, or a map has a key, a number is a string as it is written. The decoder would take such a number by its
// value: version 1.10 as 1.1, a category 007 as 7, a password 0123 as 83. What it would take of a
// number that does not fit is refused, and its errors would name Go's types.
func conform(node ast.Node, t reflect.Type, key string) (ast.Node, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if tagged, ok := node.(*ast.TagNode); ok {
		untagged, err := withoutTag(tagged, key)
		if err != nil {
			return nil, err
		}
		node = untagged
	}
	if t == ownDurationType {
		text := node.GetToken().Value
		if !scalar(node) {
			return nil, wrongYAML(node, key, "a duration")
		}
		if err := new(Duration).UnmarshalYAML([]byte(text)); err != nil {
			return nil, yamlErrorAt(node.GetToken(), "%s: %v", key, err)
		}
		return node, nil
	}
	for _, u := range unmarshalers {
		if reflect.PointerTo(t).Implements(u) {
			return node, nil
		}
	}
	if _, null := node.(*ast.NullNode); null {
		return node, nil
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return node, conformMapping(node, t, key)
	case reflect.Slice, reflect.Array:
		list, ok := node.(*ast.SequenceNode)
		if !ok && scalar(node) && t.Elem().Kind() == reflect.String {
			return nil, yamlErrorAt(node.GetToken(), "%s: a list is expected, got %s: write [ ] around it, and commas between several", key, described(node))
		}
		if !ok {
			return nil, wrongYAML(node, key, "a list")
		}
		for i, value := range list.Values {
			at := fmt.Sprintf("%s[%d]", key, i)
			if _, null := value.(*ast.NullNode); null && t.Elem().Kind() == reflect.String {
				return nil, wrongYAML(value, at, "a text (null and ~ in quotes)")
			}
			fit, err := conform(value, t.Elem(), at)
			if err != nil {
				return nil, err
			}
			list.Values[i] = fit
		}
		return node, nil
	default:
		return conformScalar(node, t, key)
	}
}

func conformMapping(node ast.Node, t reflect.Type, key string) error {
	values, ok := entries(node)
	if !ok {
		return wrongYAML(node, key, "a mapping")
	}
	for _, v := range values {
		name := keyText(v.Key)
		switch v.Key.(type) { // the decoder drops all of a struct that has such a key, without an error
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
			v.Key = ast.String(v.Key.GetToken())
		}
		of := typeOfKey(t, name)
		if of == nil { // the decoder says so
			continue
		}
		if key != "" {
			name = key + "." + name
		}
		fit, err := conform(v.Value, of, name)
		if err != nil {
			return err
		}
		v.Value = fit
	}
	return nil
}

// keyText returns a key as the decoder reads it.
func keyText(key ast.MapKeyNode) string {
	if k, ok := key.(*ast.MappingKeyNode); ok && k.Value != nil {
		return k.Value.GetToken().Value
	}
	return key.GetToken().Value
}

// withoutTag returns what a tag of YAML's own types stands before; what it says must fit where it
// stands anyway. Tags of other programs (!vault, !env) would have to be obeyed, and are refused.
func withoutTag(n *ast.TagNode, key string) (ast.Node, error) {
	switch tag := n.Start.Value; tag {
	case "!!str":
		if n.Value != nil && scalar(n.Value) {
			if _, block := n.Value.(*ast.LiteralNode); !block {
				of := n.Value.GetToken()
				text := token.String(of.Value, of.Value, of.Position)
				text.Type = token.SingleQuoteType // never a number
				return ast.String(text), nil
			}
		}
		return n.Value, nil
	case "!!int", "!!float", "!!bool", "!!seq", "!!map":
		return n.Value, nil
	default:
		if key != "" {
			key += ": "
		}
		return nil, yamlErrorAt(n.Start, "%sthe tag %s is not known here; write the value itself, or in quotes if it begins with !", key, tag)
	}
}

// eightOrTen tells whether a plain number begins with a 0 that makes it octal in YAML 1.1, for which
// the decoder takes it, and means nothing in YAML 1.2.
func eightOrTen(node ast.Node) bool {
	n, ok := node.(*ast.IntegerNode)
	if !ok {
		return false
	}
	digits := strings.ReplaceAll(strings.TrimLeft(n.Token.Value, "+-"), "_", "")
	octal, err := strconv.ParseUint(digits, 8, 64)
	if err != nil || len(digits) < 2 || digits[0] != '0' {
		return false
	}
	decimal, err := strconv.ParseUint(digits, 10, 64)
	return err != nil || decimal != octal
}

// exponent is a number that the lexer takes for a text, since it has no point.
var exponent = regexp.MustCompile(`^[-+]?[0-9]+[eE][-+]?[0-9]+$`)

func conformScalar(node ast.Node, t reflect.Type, key string) (ast.Node, error) {
	text := node.GetToken().Value
	if t.Kind() != reflect.String && eightOrTen(node) {
		if key != "" {
			key += ": "
		}
		return nil, yamlErrorAt(node.GetToken(), "%s%s is octal to some readers of YAML and decimal to others; write it without the 0, as 0o… if it is octal, or in quotes if it is a text", key, text)
	}
	if s, plain := node.(*ast.StringNode); plain && t.Kind() != reflect.String && s.Token.Type == token.StringType && exponent.MatchString(text) {
		if x, err := strconv.ParseFloat(text, 64); err == nil {
			number := ast.Float(s.Token)
			number.Value = x
			node = number
		}
	}
	if t.Kind() == reflect.Interface {
		return node, nil
	}
	was := node
	var want string
	fits := false
	switch t.Kind() {
	case reflect.String:
		want, fits = "a text", scalar(node)
		switch node.(type) {
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
			node = ast.String(node.GetToken())
		}
	case reflect.Bool:
		want = "true or false"
		_, fits = node.(*ast.BoolNode)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if t == durationType { // which the decoder reads without days, and of no number
			var d Duration
			want, fits = "a duration, as 30s, 15m, 24h or 7d,", scalar(node) && d.UnmarshalYAML([]byte(text)) == nil
			written := *node.GetToken()
			written.Value = d.Std().String()
			node = ast.String(&written)
			break
		}
		want, fits = "a whole number", fitsInt(node, t.Bits())
		if _, whole := node.(*ast.IntegerNode); whole {
			want = fmt.Sprintf("a whole number of %d bits", t.Bits())
		}
	case reflect.Float32, reflect.Float64:
		want = "a number"
		switch node.(type) {
		case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
			fits = true
		case *ast.StringNode:
			_, err := strconv.ParseFloat(text, t.Bits())
			fits = err == nil
		}
	default:
		return node, nil
	}
	if !fits {
		return nil, wrongYAML(was, key, want)
	}
	return node, nil
}

// fitsInt tells whether a node is a whole number of that many bits.
func fitsInt(node ast.Node, bits int) bool {
	value := math.NaN()
	switch n := node.(type) {
	case *ast.IntegerNode:
		switch x := n.Value.(type) {
		case int64:
			return x == x<<(64-bits)>>(64-bits)
		case uint64:
			return x <= 1<<(bits-1)-1
		}
	case *ast.FloatNode:
		value = n.Value
	case *ast.StringNode:
		_, err := strconv.ParseInt(n.Value, 10, bits)
		return err == nil
	}
	return value == math.Trunc(value) && math.Abs(value) < math.Ldexp(1, min(bits-1, 53))
}

// scalar tells whether a node is one value.
func scalar(node ast.Node) bool {
	switch node.(type) {
	case *ast.SequenceNode, *ast.MappingNode, *ast.MappingValueNode:
		return false
	default:
		return true
	}
}

func wrongYAML(node ast.Node, key, want string) error {
	if key != "" {
		key += ": "
	}
	return yamlErrorAt(node.GetToken(), "%s%s is expected, got %s", key, want, described(node))
}

// typeOfKey is the type of what stands under a key of a mapping that becomes a t; nil if none does.
func typeOfKey(t reflect.Type, key string) reflect.Type {
	switch t.Kind() { //nolint:exhaustive // nothing else has keys
	case reflect.Map:
		return t.Elem()
	case reflect.Struct:
		for field := range t.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			switch {
			case options == "inline":
				if inner := typeOfKey(field.Type, key); inner != nil {
					return inner
				}
			case name == key || name == "" && strings.ToLower(field.Name) == key:
				return field.Type
			}
		}
	}
	return nil
}

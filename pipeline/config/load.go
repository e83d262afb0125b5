package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/millrace/millrace/schemas"
)

// Load reads path over the defaults (none if path is empty), then the variables of
// environ that begin with MILLRACE_, then flags, each "key=value" with a dotted key.
// Every fault is reported, each with its key and where it comes from.
func Load(path string, environ, flags []string) (Config, error) {
	cfg := Default()
	l := &loader{keys: map[string]reflect.Value{}}
	l.collect(reflect.ValueOf(&cfg).Elem(), "")
	if path != "" {
		l.file(path)
	}
	l.environment(environ)
	for _, f := range flags {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			l.fault("--set %s: write key=value", schemas.PublicAddress(f))
			continue
		}
		l.set("--set "+key, key, value)
	}
	if err := cfg.Validate(); err != nil {
		l.errs = append(l.errs, err)
	}
	return cfg, errors.Join(l.errs...)
}

// loader puts values into the fields of a Config by their dotted keys.
type loader struct {
	keys map[string]reflect.Value // leaves only
	errs []error
}

func (l *loader) fault(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

func (l *loader) collect(v reflect.Value, prefix string) {
	t := v.Type()
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		key := prefix + name
		switch f := v.Field(i); {
		case options == "inline":
			l.collect(f, prefix)
		case f.Kind() == reflect.Struct:
			l.collect(f, key+".")
		default:
			l.keys[key] = f
		}
	}
}

func (l *loader) file(path string) {
	text, err := schemas.ReadYAML(path)
	if err != nil {
		l.fault("read configuration: %w", err)
		return
	}
	docs, err := schemas.ParseYAML(text)
	if err != nil {
		l.fault("%s: %w", path, err)
		return
	}
	for _, doc := range docs {
		l.mapping(path, doc, "")
	}
}

func (l *loader) mapping(path string, node ast.Node, prefix string) {
	m, ok := node.(ast.MapNode)
	if !ok {
		l.fault("%s:%d: %s: a mapping is expected", path, node.GetToken().Position.Line, cmp.Or(strings.TrimSuffix(prefix, "."), "the configuration"))
		return
	}
	for it := m.MapRange(); it.Next(); {
		key := prefix + it.Key().String()
		line := it.Key().GetToken().Position.Line
		where := fmt.Sprintf("%s:%d", path, line)
		field, leaf := l.keys[key]
		switch {
		case leaf:
			fresh := reflect.New(field.Type())
			if err := schemas.DecodeYAMLNode(it.Value(), fresh.Interface(), key); err != nil {
				l.leaf(path, key, line, err)
				continue
			}
			field.Set(fresh.Elem())
		case l.section(key):
			if it.Value().Type() != ast.NullType {
				l.mapping(path, it.Value(), key+".")
			}
		default:
			l.fault("%s: %s: unknown key%s", where, key, l.suggest(key))
		}
	}
}

// leaf notes what is wrong with the value of a key that stands on a line.
func (l *loader) leaf(path, key string, line int, err error) {
	what := err.Error()
	if e, ok := errors.AsType[*schemas.YAMLError](err); ok {
		line, what = e.Line, e.What
	}
	if !strings.HasPrefix(what, key) {
		what = key + ": " + what
	}
	l.fault("%s:%d: %s", path, line, what)
}

func (l *loader) section(key string) bool {
	for k := range l.keys {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// suggest names a known key that ends alike, as where a section was forgotten.
func (l *loader) suggest(key string) string {
	if ours := foreignKeys[strings.NewReplacer("_", ".", "-", ".").Replace(key)]; ours != "" {
		return "; here it is " + ours
	}
	last := key[strings.LastIndexByte(key, '.')+1:]
	var like []string
	for k := range l.keys {
		if strings.HasSuffix(k, "."+last) {
			like = append(like, k)
		}
	}
	if len(like) == 0 {
		return ""
	}
	slices.Sort(like)
	return "; did you mean " + strings.Join(like, " or ") + "?"
}

// variable is the name of the environment variable that sets a key.
func variable(key string) string {
	return "MILLRACE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (l *loader) environment(environ []string) {
	names := map[string]string{}
	for key := range l.keys {
		names[variable(key)] = key
	}
	// Set by people for other parts: where the native libraries lie, and what tests use.
	foreign := regexp.MustCompile(`^MILLRACE_(LIBCHDB|ONNXRUNTIME|LIBCHDB_SHA256|ONNXRUNTIME_SHA256|NATIVE_DIR|TEST_.*|CONFIG)$`)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "MILLRACE_") || foreign.MatchString(name) {
			continue
		}
		key, ok := names[name]
		switch {
		case ok:
			l.set("environment "+name, key, value)
		case !serviceLink(name, value):
			l.fault("environment %s: no such key", name)
		}
	}
}

var (
	servicePlace = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$`)
	servicePort  = regexp.MustCompile(`_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?$`)
)

// serviceLink tells variables that Kubernetes puts into every container for each
// service: one that is called millrace, or millrace-…, has ours as their prefix.
func serviceLink(name, value string) bool {
	if servicePlace.MatchString(name) {
		return true
	}
	parts := servicePort.FindStringSubmatch(name)
	return parts != nil && (parts[4] != "" || strings.Contains(value, "://")) // MILLRACE_HTTP_PORT=8080 is a mistake
}

// set reads text as the YAML value of a key; a list may be written without brackets.
func (l *loader) set(where, key, text string) {
	field, ok := l.keys[key]
	if !ok {
		l.fault("%s: unknown key%s", where, l.suggest(key))
		return
	}
	if field.Kind() == reflect.Slice && !strings.HasPrefix(strings.TrimSpace(text), "[") {
		text = "[" + text + "]"
	}
	fresh := reflect.New(field.Type())
	if field.Kind() == reflect.String {
		fresh.Elem().SetString(text)
	} else if err := schemas.DecodeYAML([]byte(text), fresh.Interface()); err != nil {
		l.fault("%s: %w", where, err)
		return
	}
	field.Set(fresh.Elem())
}

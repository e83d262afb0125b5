package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/config"
)

// Whoever follows a path of the documents finds each name in a file that its line links to.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	files := os.DirFS("../..")
	for document, parts := range map[string][]string{ // by how they begin; a part ends where the next heading is
		"README.md":          {" Where is\n", "\nWhere goes\n"},
		"pipeline/DESIGN.md": {"\n## A request to its row\n", "\n## A window to its event\n", "\n## Other ways\n", "\n## Where a change goes\n"},
	} {
		text, err := fs.ReadFile(files, document)
		require.NoError(t, err)
		n := &names{files: files, document: document, declared: map[string]map[string]bool{}, outside: outsideNames(t, files)}
		for _, begin := range parts {
			_, part, found := strings.Cut(string(text), begin)
			require.True(t, found, begin)
			part, _, _ = strings.Cut(part, "\n## ")
			n.part(part)
		}
		require.Empty(t, n.faults, "%s", strings.Join(n.faults, "\n"))
		require.Greater(t, n.checked, 2, document)
	}
}

// A name that is not where its line says is found.
func TestDocumentsThatNameWhatIsNotThere(t *testing.T) {
	files := fstest.MapFS{
		"a/a.go": {Data: []byte("package a\n\ntype lane struct{}\n\nfunc (l *lane) round() {}\n\nfunc Run() {}\n\ntype Store interface{ Read() }\n\nconst most = 1\n")},
		"a/b.go": {Data: []byte("package a\n\nfunc other() {}\n")},
	}
	for line, fault := range map[string]string{
		"`Run`, `lane.round`, `a.Run`, `Store.Read`, `most` in [a.go](a/a.go)": "",
		"`other` in [a](a)":                        "",
		"`windows` and `Run` in [a.go](a/a.go)":    "",
		"`worker.lanes` of [a.go](a/a.go)":         "",
		"`Gone` in [a.go](a/a.go)":                 "Gone is in none of a/a.go",
		"`lane.other` in [a.go](a/a.go)":           "lane.other is in none of a/a.go",
		"`other` in [a.go](a/a.go)":                "other is in none of a/a.go",
		"`lane.poll` in [a.go](a/a.go)":            "lane.poll is in none of a/a.go",
		"[worker.go](a/a.go)":                      "worker.go leads to a/a.go",
		"- `Run` in [a.go](a/a.go),\n  and `Gone`": "Gone is in none of a/a.go",
	} {
		n := &names{files: files, document: "README.md", declared: map[string]map[string]bool{}, outside: map[string]bool{"windows": true}}
		n.part(line)
		if fault == "" {
			require.Empty(t, n.faults, line)
			continue
		}
		require.Len(t, n.faults, 1, line)
		require.Contains(t, n.faults[0], fault)
	}
}

// names looks for the names of a document in the files that it links to.
type names struct {
	files    fs.FS
	document string
	declared map[string]map[string]bool // by file or folder
	outside  map[string]bool            // that are of no Go file

	checked int
	faults  []string
}

var (
	newItem  = regexp.MustCompile(`\n([^ ])`)
	goLink   = regexp.MustCompile(`\[([^\]]*)\]\(([^)#\s]+)[^)]*\)`)
	goName   = regexp.MustCompile("`([A-Za-z]+(?:\\.[A-Za-z]+)?)`")
	allUpper = regexp.MustCompile(`^[A-Z]+$`) // a word of SQL
)

// part checks items and rows of tables, each of which may take several lines.
func (n *names) part(text string) {
	for item := range strings.SplitSeq(newItem.ReplaceAllString(text, "\x00$1"), "\x00") {
		var linked []string
		for _, m := range goLink.FindAllStringSubmatch(item, -1) {
			file := path.Join(path.Dir(n.document), m[2])
			linked = append(linked, file)
			if strings.HasSuffix(m[1], ".go") && path.Base(m[1]) != path.Base(file) {
				n.faults = append(n.faults, n.document+": "+m[1]+" leads to "+file)
			}
		}
		for _, m := range goName.FindAllStringSubmatch(item, -1) {
			if name := m[1]; len(linked) > 0 && !allUpper.MatchString(name) && !n.outside[name] && !isSetting(name) {
				n.checked++
				if !slices.ContainsFunc(linked, func(file string) bool { return n.names(file)[name] }) {
					n.faults = append(n.faults, n.document+": "+name+" is in none of "+strings.Join(linked, ", "))
				}
			}
		}
	}
}

// isSetting tells whether a name is that of a key of the configuration.
func isSetting(name string) bool {
	_, err := config.Load("", nil, []string{name + "=0"})
	return strings.Contains(name, ".") && (err == nil || !strings.Contains(err.Error(), "unknown key"))
}

// names returns what a file declares, or the files of a folder: bare, with the package before it,
// and methods with their type.
func (n *names) names(at string) map[string]bool {
	if n.declared[at] != nil {
		return n.declared[at]
	}
	found := map[string]bool{}
	n.declared[at] = found
	matches := []string{at}
	if path.Ext(at) == "" {
		matches, _ = fs.Glob(n.files, at+"/*.go") // the pattern is well formed
	}
	for _, file := range matches {
		text, err := fs.ReadFile(n.files, file)
		if err != nil || path.Ext(file) != ".go" {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		if err != nil {
			n.faults = append(n.faults, err.Error())
			continue
		}
		add := func(of, name string) { found[name], found[of+"."+name] = true, true }
		for _, d := range parsed.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				add(receiverOf(d, parsed.Name.Name), d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declaredBy(spec, parsed.Name.Name, add)
				}
			}
		}
	}
	return found
}

// receiverOf returns the type of a method, or the package of a function.
func receiverOf(d *ast.FuncDecl, pkg string) string {
	if d.Recv == nil {
		return pkg
	}
	of := d.Recv.List[0].Type
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name
	}
	return pkg
}

// declaredBy adds what a declaration of a type, or of constants or variables, names.
func declaredBy(spec ast.Spec, pkg string, add func(of, name string)) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		add(pkg, spec.Name.Name)
		if methods, ok := spec.Type.(*ast.InterfaceType); ok {
			for _, m := range methods.Methods.List {
				for _, name := range m.Names {
					add(spec.Name.Name, name.Name)
				}
			}
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			add(pkg, name.Name)
		}
	}
}

// outsideNames are those of topics and tables, by the defaults and the migrations, and of folders.
func outsideNames(t *testing.T, files fs.FS) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	topics := config.Default().Topics
	for _, topic := range []string{topics.Feedback, topics.Observations, topics.DeadLetters, topics.Events, topics.Control} {
		found[topic] = true
	}
	migrations, err := fs.Glob(files, "schemas/migrations/*.sql")
	require.NoError(t, err)
	for _, file := range migrations {
		text, err := fs.ReadFile(files, file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`CREATE TABLE(?: IF NOT EXISTS)? (?:\S*\.)?(\w+)`).FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
	}
	require.True(t, found["windows"] && found["feedback"], "%v", slices.Collect(maps.Keys(found)))
	folders, err := fs.ReadDir(files, ".")
	require.NoError(t, err)
	for _, f := range folders {
		found[f.Name()] = found[f.Name()] || f.IsDir()
	}
	return found
}

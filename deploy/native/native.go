package native

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// DirVariable is the environment variable that names the folder which holds node_modules, for
// executables that do not lie beside it, such as those of `go run`.
const DirVariable = "MILLRACE_NATIVE_DIR"

// Library is a native library.
type Library struct {
	Name     string // in messages, such as ONNX Runtime
	File     string // name of its file
	Variable string // environment variable that names its path; with _SHA256 behind it, its digest
}

// The libraries.
var (
	ClickHouse  = Library{Name: "the embedded ClickHouse engine", File: "libchdb.so", Variable: "MILLRACE_LIBCHDB"}
	ONNXRuntime = Library{Name: "ONNX Runtime", File: "libonnxruntime.so.1", Variable: "MILLRACE_ONNXRUNTIME"}
)

//go:embed SHA256SUMS
var sums string

// pinned returns the library's digest and its path below the folder of package-lock.json.
func (l Library) pinned() (digest, path string) {
	for line := range strings.Lines(sums) {
		if digest, path, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && filepath.Base(path) == l.File {
			return digest, path
		}
	}
	panic("SHA256SUMS names no " + l.File)
}

//go:embed package.json
var manifest []byte

// Version returns the version of the package that the library is pinned in.
func (l Library) Version() string {
	var pins struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	if err := json.Unmarshal(manifest, &pins); err != nil {
		panic(err)
	}
	_, path := l.pinned()
	for name, version := range pins.Dependencies {
		if strings.HasPrefix(path, "node_modules/"+name+"/") {
			return version
		}
	}
	panic("package.json does not have " + path)
}

// Find returns the path of the library once it was checked. Checking reads all of it (0.4 s for
// libchdb.so); a process does so once, unless the file changes.
func (l Library) Find() (string, error) {
	path, err := l.locate()
	if err != nil {
		return "", err
	}
	if err := l.check(path); err != nil {
		return "", err
	}
	return path, nil
}

// State tells one state of a file from all others, for Recheck; it is empty where there is no telling.
func State(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	id, ok := identify(path, info)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d.%d.%d", id.device, id.inode, id.size, id.changed, id.changedNs)
}

// Recheck checks a library that the process which started this one has found and checked, in the
// given state: it is read again only where that has changed.
func (l Library) Recheck(path, state string) error {
	if state != "" && state == State(path) {
		return nil
	}
	return l.check(path)
}

func (l Library) locate() (string, error) {
	if path := os.Getenv(l.Variable); path != "" {
		abs, err := filepath.Abs(path)
		if err != nil || !isFile(abs) {
			return "", fmt.Errorf("%s is %s, where there is no file: set it to the path of %s, or unset it", l.Variable, path, l.File)
		}
		return filepath.EvalSymlinks(abs)
	}
	_, below := l.pinned()
	var candidates []string
	if dir := os.Getenv(DirVariable); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("%s: %w", DirVariable, err)
		}
		candidates = []string{filepath.Join(abs, below)}
	} else if exe, err := os.Executable(); err == nil {
		if target, err := filepath.EvalSymlinks(exe); err == nil {
			exe = target
		}
		dir := filepath.Dir(exe)
		candidates = []string{
			filepath.Join(dir, l.File),
			filepath.Join(dir, "..", "lib", l.File),
			filepath.Join(dir, "deploy", "native", below),
			filepath.Join(dir, "..", "deploy", "native", below),
		}
	}
	for _, path := range candidates {
		if isFile(path) {
			return filepath.EvalSymlinks(path)
		}
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("%s comes with millrace for linux/amd64 only, and this is %s/%s: set %s to the path of its library, and %s_SHA256 to its digest",
			l.Name, runtime.GOOS, runtime.GOARCH, l.Variable, l.Variable)
	}
	return "", fmt.Errorf("%s (%s) was not found beside the executable: run `make native build` and use bin/millrace, or set %s to deploy/native of the checkout, or %s to the library's path",
		l.Name, l.File, DirVariable, l.Variable)
}

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // the operator names the library that this process loads
	return err == nil && info.Mode().IsRegular()
}

// identity is a file as it was when it was read. A change of its contents, owner or mode changes
// the time of its last change, which nobody can set.
type identity struct {
	path               string
	device, inode      uint64
	size               int64
	changed, changedNs int64
}

// checked are the digests of the files that this process has read.
var (
	checkedMu sync.Mutex
	checked   = map[identity]string{}
)

// check refuses a library that is not the one that is wanted, or that others could change.
func (l Library) check(path string) error {
	if err := onlyOurs(path); err != nil {
		return fmt.Errorf("%s is not loaded: %w", l.Name, err)
	}
	want, _ := l.pinned()
	variable := l.Variable + "_SHA256"
	if own := os.Getenv(variable); own != "" {
		want = strings.ToLower(own)
	}
	got, err := digest(path)
	if err != nil {
		return fmt.Errorf("%s is not loaded: %w", l.Name, err)
	}
	if got != want {
		return fmt.Errorf("%s is not loaded: the SHA-256 of %s is %s, and not %s: run `make native` to install the one that is pinned, or set %s=%s if you trust this one",
			l.Name, path, got, want, variable, got)
	}
	return nil
}

func digest(path string) (string, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	id, known := identify(path, info)
	checkedMu.Lock()
	defer checkedMu.Unlock() // others that want it wait, instead of reading it too
	if sum, ok := checked[id]; ok && known {
		return sum, nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{file}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if known {
		checked[id] = sum
	}
	return sum, nil
}

// onlyOurs refuses a file that somebody but this user and root could change, or put another in
// the place of: by its owner and mode, or by those of a folder above it.
func onlyOurs(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		owner, group, ok := ownership(info)
		if !ok {
			return nil
		}
		mode := info.Mode()
		switch {
		case owner != 0 && owner != os.Geteuid():
			return fmt.Errorf("%s belongs to user %d: it must be yours or root's, since its owner could put another library there", at, owner)
		case mode.IsDir() && mode&os.ModeSticky != 0:
			// As /tmp: others can add files, but not touch ours.
		case mode.Perm()&0o002 != 0:
			return fmt.Errorf("%s can be written by everybody (mode %04o): run `chmod o-w %s`", at, mode.Perm(), at)
		case mode.Perm()&0o020 != 0 && group != 0 && !ownGroup(group):
			return fmt.Errorf("%s can be written by group %d (mode %04o): run `chmod g-w %s`", at, group, mode.Perm(), at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// ownGroup tells a group that is one user's alone, as many systems make it: both have one number.
func ownGroup(group int) bool { return group == os.Getegid() && group == os.Geteuid() }

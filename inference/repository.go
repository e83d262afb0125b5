package inference

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// Repository is a model repository on disk. It is safe for concurrent use: it keeps
// nothing, and reads the disk at every call.
type Repository struct{ root string }

// Ref names a version of a model.
type Ref struct{ Name, Version string }

// String returns "<name>/<version>".
func (r Ref) String() string { return r.Name + "/" + r.Version }

// OpenRepository opens the model repository at root, which must be a folder. It may be empty.
func OpenRepository(root string) (*Repository, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("open model repository: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open model repository: %s is not a folder", root)
	}
	return &Repository{root: root}, nil
}

// Models lists every name/version folder, sorted by name, then by version in natural
// order, so that a model's newest version is its last. Files and names that start with a
// dot are passed over, and so is the lost+found of a file system that was mounted there.
func (r *Repository) Models() ([]Ref, error) {
	names, err := subfolders(r.root)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	var refs []Ref
	for _, name := range names {
		versions, err := subfolders(filepath.Join(r.root, name))
		if err != nil {
			return nil, fmt.Errorf("list versions of %s: %w", name, err)
		}
		slices.SortFunc(versions, compareVersions)
		for _, v := range versions {
			refs = append(refs, Ref{name, v})
		}
	}
	return refs, nil
}

func subfolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "lost+found" {
			continue
		}
		// Stat, not the entry's own type: a version may be a symbolic link.
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// compareVersions orders versions naturally: runs of digits by value, the rest by text,
// and "1.0-rc1" before "1.0" as in semantic versioning.
func compareVersions(a, b string) int {
	restA, restB := a, b
	for restA != "" && restB != "" {
		var x, y string
		x, restA = leadingRun(restA)
		y, restB = leadingRun(restB)
		if isDigit(x[0]) && isDigit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		// "1-rc" against "1.1": a pre-release comes before everything that goes on.
		if c := cmp.Or(-preRelease(x, y), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return cmp.Or(-preRelease(restA, restB), cmp.Compare(len(restA), len(restB)), strings.Compare(a, b))
}

// preRelease is 1 where only a starts a pre-release part, -1 where only b does, else 0.
func preRelease(a, b string) int {
	score := 0
	if strings.HasPrefix(a, "-") {
		score++
	}
	if strings.HasPrefix(b, "-") {
		score--
	}
	return score
}

// leadingRun cuts the longest prefix of s that is all digits or has none.
func leadingRun(s string) (run, rest string) {
	end := 1
	for end < len(s) && isDigit(s[end]) == isDigit(s[0]) {
		end++
	}
	return s[:end], s[end:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Load reads a version: its manifest, whose name and version must equal the folders', and
// its reference, and checks every file against its digest. The artifact itself is read by
// the runtime.
func (r *Repository) Load(ctx context.Context, name, version string) (*Model, error) {
	return r.load(ctx, Ref{name, version}, func(m *schemas.Manifest) []*schemas.Artifact {
		return []*schemas.Artifact{&m.Artifact, m.Reference, m.Sample}
	})
}

// LoadReference is Load for who compares with a version and does not run it: of its files only the
// reference is read and checked.
func (r *Repository) LoadReference(ctx context.Context, name, version string) (*Model, error) {
	return r.load(ctx, Ref{name, version}, func(m *schemas.Manifest) []*schemas.Artifact { return []*schemas.Artifact{m.Reference} })
}

func (r *Repository) load(ctx context.Context, ref Ref, files func(m *schemas.Manifest) []*schemas.Artifact) (*Model, error) {
	name, version := ref.Name, ref.Version
	for _, part := range []string{name, version} {
		if part == "" || strings.HasPrefix(part, ".") || filepath.Base(part) != part {
			return nil, fmt.Errorf("load model %s: %q is no folder of a model repository", ref, part)
		}
	}
	dir := filepath.Join(r.root, name, version)
	m, err := schemas.ReadManifest(dir)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", ref, err)
	}
	if m.Name != name || m.Version != version {
		return nil, fmt.Errorf("load model %s: the manifest in %s is of %s/%s; folder and manifest must agree", ref, dir, m.Name, m.Version)
	}
	model := &Model{Manifest: m, Dir: dir}
	var errs []error
	for _, a := range files(m) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("load model %s: %w", ref, err)
		}
		if a == nil {
			continue
		}
		errs = append(errs, checkDigests(dir, a)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("load model %s: %w", ref, err)
	}
	if m.Reference != nil {
		path := filepath.Join(dir, m.Reference.File)
		text, err := readBounded(path, schemas.MaxReferenceBytes)
		if err != nil {
			return nil, fmt.Errorf("load model %s: read reference: %w", ref, err)
		}
		if model.Reference, err = schemas.ParseReference(path, text, m); err != nil {
			return nil, fmt.Errorf("load model %s: %w", ref, err)
		}
	}
	return model, nil
}

func checkDigests(dir string, a *schemas.Artifact) (errs []error) {
	for _, e := range append([]schemas.External{{File: a.File, SHA256: a.SHA256}}, a.External...) {
		if err := checkDigest(dir, e); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func checkDigest(dir string, e schemas.External) error {
	path, err := within(dir, e.File)
	if err != nil {
		return err
	}
	got, err := Digest(path)
	if err != nil {
		return err
	}
	if got != e.SHA256 {
		return fmt.Errorf("%s has sha256 %s, and the manifest says %s: the file was changed, or belongs to another version", e.File, got, e.SHA256)
	}
	return nil
}

// within returns the path of a file of the folder, and refuses a link that leads out of it.
func within(dir, file string) (string, error) {
	path := filepath.Join(dir, file)
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is a link out of %s: a version is one folder; copy the file into it", file, dir)
	}
	return path, nil
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := schemas.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d MiB", path, most>>20)
	}
	return text, err
}

// Digest returns the SHA-256 digest of a file as a manifest writes it.
func Digest(path string) (string, error) {
	f, err := schemas.OpenFile(path)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// InstallModel adds a version to the repository at root, which is made when missing: the
// manifest, and the artifact that it names by digest. Either the whole version appears or
// nothing; a version that is there already is left alone, and that is an error. A manifest
// that names a reference or a sample is refused, since only the artifact is copied.
func InstallModel(root, artifactPath string, manifestYAML []byte) (Ref, error) {
	m, err := schemas.ParseManifest(schemas.ManifestFile, manifestYAML)
	if err != nil {
		return Ref{}, fmt.Errorf("install model: %w", err)
	}
	ref := Ref{m.Name, m.Version}
	if m.Reference != nil || m.Sample != nil {
		return ref, fmt.Errorf("install model %s: the manifest names a reference or a sample; copy the version's folder into %s instead", ref, root)
	}
	if m.Artifact.File == schemas.ManifestFile {
		return ref, fmt.Errorf("install model %s: the artifact cannot be called %s", ref, schemas.ManifestFile)
	}
	parent := filepath.Join(root, ref.Name)
	dir := filepath.Join(parent, ref.Version)
	if _, err := os.Lstat(dir); err == nil {
		return ref, fmt.Errorf("install model %s: %s is there already, and a version is never changed; choose another version", ref, dir)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // models are no secrets
		return ref, fmt.Errorf("install model %s: %w", ref, err)
	}
	temp, err := os.MkdirTemp(parent, ".install-")
	if err != nil {
		return ref, fmt.Errorf("install model %s: %w", ref, err)
	}
	defer os.RemoveAll(temp)
	err = errors.Join(
		os.Chmod(temp, 0o755), //nolint:gosec // models are no secrets
		CopyArtifact(temp, artifactPath, &m.Artifact),
		os.WriteFile(filepath.Join(temp, schemas.ManifestFile), manifestYAML, 0o644)) //nolint:gosec // models are no secrets
	if err == nil {
		err = errors.Join(checkDigests(temp, &m.Artifact)...)
	}
	if err == nil {
		err = os.Rename(temp, dir)
	}
	if err != nil {
		return ref, fmt.Errorf("install model %s: %w", ref, err)
	}
	return ref, nil
}

// CopyArtifact copies the file of a model to a folder, under the name that a manifest has for it, and
// the files that lie beside it with its weights. Files that are in the folder already are not
// written over: that is an error.
func CopyArtifact(to, artifactPath string, a *schemas.Artifact) error {
	if err := copyFile(filepath.Join(to, a.File), artifactPath); err != nil {
		return err
	}
	for _, e := range a.External {
		path, err := within(filepath.Dir(artifactPath), e.File)
		if err == nil {
			err = copyFile(filepath.Join(to, e.File), path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) (err error) {
	in, err := schemas.OpenFile(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // models are no secrets
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

package operate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// FixDigests writes into every manifest of the repository the digests of the files that it
// names, and returns a line for each digest that was missing or another one. A manifest is
// replaced as a whole; what is wrong with one does not keep the others from being written.
func FixDigests(cfg config.Config) ([]string, error) {
	models, err := catalog.Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	refs, err := models.Models()
	if err != nil {
		return nil, err
	}
	var lines []string
	var errs []error
	for _, ref := range refs {
		if !models.HasManifest(ref) { // check says so
			continue
		}
		dir := filepath.Join(cfg.Models.Repository, ref.Name, ref.Version)
		fixed, err := editManifest(dir, func(e *schemas.ManifestEdit) ([]string, error) {
			return e.FixDigests(func(file string) (string, error) {
				if filepath.Base(file) != file {
					return "", fmt.Errorf("%q is not the name of a file beside the manifest", file)
				}
				return inference.Digest(filepath.Join(dir, file))
			})
		})
		for _, file := range fixed {
			lines = append(lines, fmt.Sprintf("model %s: digest of %s written", ref, file))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("model %s: %w", ref, err))
		}
	}
	return lines, errors.Join(errs...)
}

// editManifest changes the manifest of a version's folder; it is there as it was, or as f made
// it. What f returns beside is returned.
func editManifest[T any](dir string, f func(*schemas.ManifestEdit) (T, error)) (T, error) {
	var none T
	text, err := schemas.ReadManifestText(dir)
	if err != nil {
		return none, err
	}
	e, err := schemas.EditManifest(text)
	if err != nil {
		return none, err
	}
	out, err := f(e)
	if err != nil || bytes.Equal(e.Text(), text) {
		return out, err
	}
	return out, replaceFile(filepath.Join(dir, schemas.ManifestFile), e.Text())
}

// replaceFile writes a file that is there with its old contents or with the new ones, also after a
// loss of power.
func replaceFile(path string, contents []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = file.Write(contents)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()) // models are no secrets
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close()) // what follows is not on the disk before
}

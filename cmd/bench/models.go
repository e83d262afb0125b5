package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
)

// models is the model repository that testdata/make_models.py makes.
//
//go:embed testdata/models
var models embed.FS

// brokenName and draftName are the models that lie beside the one that is measured.
const (
	brokenName = "broken"
	draftName  = "drafted"
)

// installModels writes the model repository to a folder, and where beside says so a model whose
// artifact is a part of one, and one of which the only version is a draft.
func installModels(dir string, beside bool) error {
	repository, err := fs.Sub(models, "testdata/models")
	if err == nil {
		err = os.CopyFS(dir, repository)
	}
	if err == nil && beside {
		err = errors.Join(copyModel(dir, brokenName, "", func(graph []byte) []byte { return graph[:len(graph)/2] }),
			copyModel(dir, draftName, "draft: true\n", func(graph []byte) []byte { return graph }))
	}
	if err != nil {
		return fmt.Errorf("install the models: %w", err)
	}
	return nil
}

// copyModel copies a version that is measured to one of another name, with lines before its manifest.
func copyModel(dir, name, lines string, artifact func([]byte) []byte) error {
	const from = "testdata/models/" + modelName + "/gbdt/"
	manifest, err := models.ReadFile(from + schemas.ManifestFile)
	if err != nil {
		return err
	}
	graph, err := models.ReadFile(from + "model.onnx")
	if err != nil {
		return err
	}
	to := filepath.Join(dir, name, "gbdt")
	renamed := bytes.Replace(manifest, []byte("name: "+modelName+"\n"), []byte(lines+"name: "+name+"\n"), 1)
	return errors.Join(
		os.MkdirAll(to, 0o750),
		os.WriteFile(filepath.Join(to, schemas.ManifestFile), renamed, 0o600),
		os.WriteFile(filepath.Join(to, "model.onnx"), artifact(graph), 0o600))
}

// loadModel loads a version from such a folder.
func loadModel(ctx context.Context, dir, version string) (*inference.Model, error) {
	repository, err := inference.OpenRepository(dir)
	if err != nil {
		return nil, err
	}
	return repository.Load(ctx, modelName, version)
}

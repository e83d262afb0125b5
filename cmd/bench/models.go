package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"

	"github.com/millrace/millrace/inference"
)

// models is the model repository that testdata/make_models.py makes.
//
//go:embed testdata/models
var models embed.FS

// installModels writes the model repository to a folder.
func installModels(dir string) error {
	repository, err := fs.Sub(models, "testdata/models")
	if err == nil {
		err = os.CopyFS(dir, repository)
	}
	if err != nil {
		return fmt.Errorf("install the models: %w", err)
	}
	return nil
}

// loadModel loads a version from such a folder.
func loadModel(ctx context.Context, dir, version string) (*inference.Model, error) {
	repository, err := inference.OpenRepository(dir)
	if err != nil {
		return nil, err
	}
	return repository.Load(ctx, modelName, version)
}

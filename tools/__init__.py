"""How this book is executed, built and checked. Nothing in here is installed with the package."""

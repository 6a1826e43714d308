"""What pages are drawn with: pieces of HTML, pictures as text, one style sheet for the light and the dark."""

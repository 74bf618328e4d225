"""Pictures to learn painting from: composed icons and photographs, with prompts that tell what is there."""

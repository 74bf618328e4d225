// The words of the chosen language, for every component.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { words, type Words } from "./i18n";

export const WordsContext = createContext<Words>(words.en);
export const useWords = () => useContext(WordsContext);

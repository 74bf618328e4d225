import { render } from "preact";
import { App } from "./App";
import { start } from "./start";
import "./styles/index.css";

render(<App />, document.getElementById("app")!);
start();

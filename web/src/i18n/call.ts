// The words of voice mode, in both languages.

export const callEn = {
  callOpen: "Speak with it",
  callTitle: "Voice",
  callConnecting: "Connecting",
  callListening: "Listening",
  callHearing: "Hearing you",
  callThinking: "Thinking",
  callSpeaking: "Speaking: talk to interrupt",
  callOver: "The call has ended",
  callYou: "You",
  callIt: "LocalGPT",
  callTranscript: "What was said",
  callInterrupt: "Interrupt",
  callHangUp: "Hang up",
  callAgain: "Call again",
  callNote: "What is said goes to your LocalGPT alone. It is kept nowhere.",
  callInsecure:
    "The browser gives the microphone only to pages of this computer or over HTTPS. Open LocalGPT by localhost, or start it with --tls-self-signed.",
  callNoMicrophone: "The microphone cannot be used. Connect one and allow it in the address bar, then call again.",
  callRefused: "LocalGPT took no call. Voice may be switched off, or too many calls are open.",
  callOffline: "The connection to LocalGPT was lost.",
  callLacking: "A model that listens or speaks is missing. Get one under Models, such as whisper-base and mms-tts-eng.",
};

export const callZh: typeof callEn = {
  callOpen: "语音对话",
  callTitle: "语音",
  callConnecting: "正在连接",
  callListening: "正在聆听",
  callHearing: "听到您在说话",
  callThinking: "正在思考",
  callSpeaking: "正在说话：开口即可打断",
  callOver: "通话已结束",
  callYou: "您",
  callIt: "LocalGPT",
  callTranscript: "对话内容",
  callInterrupt: "打断",
  callHangUp: "挂断",
  callAgain: "再次通话",
  callNote: "所说的话只会发送到您的 LocalGPT，不会保存在任何地方。",
  callInsecure:
    "浏览器只允许本机页面或 HTTPS 页面使用麦克风。请通过 localhost 打开 LocalGPT，或用 --tls-self-signed 启动它。",
  callNoMicrophone: "无法使用麦克风。请连接麦克风并在地址栏中允许使用，然后再次通话。",
  callRefused: "LocalGPT 没有接听。语音可能已关闭，或通话过多。",
  callOffline: "与 LocalGPT 的连接已断开。",
  callLacking: "缺少能听或能说的模型。请在“模型”中获取，例如 whisper-base 和 mms-tts-eng。",
};

// The native methods of tfpruneofa.SparseInt8Delegate.
#include <jni.h>

#include <string>
#include <vector>

#include "tf_prune_ofa/tflite_abi.h"

extern "C" {
TfLiteDelegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values,
                                              size_t count, void (*report_error)(const char*));
void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate);
const char* tf_prune_ofa_report(const TfLiteDelegate* delegate);
}

namespace {

// What the library said was wrong, on the thread that is creating a delegate.
thread_local std::string error_message;

void KeepError(const char* message) { error_message = message; }

std::vector<std::string> Strings(JNIEnv* env, jobjectArray array) {
  std::vector<std::string> strings;
  for (jsize i = 0; i < env->GetArrayLength(array); ++i) {
    auto item = static_cast<jstring>(env->GetObjectArrayElement(array, i));
    const char* text = env->GetStringUTFChars(item, nullptr);
    strings.emplace_back(text == nullptr ? "" : text);
    if (text != nullptr) env->ReleaseStringUTFChars(item, text);
    env->DeleteLocalRef(item);
  }
  return strings;
}

std::vector<const char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<const char*> pointers;
  for (const std::string& string : strings) pointers.push_back(string.c_str());
  return pointers;
}

TfLiteDelegate* FromHandle(jlong handle) { return reinterpret_cast<TfLiteDelegate*>(handle); }

}  // namespace

extern "C" {

// Returns the TfLiteDelegate*, or throws IllegalArgumentException.
JNIEXPORT jlong JNICALL Java_tfpruneofa_SparseInt8Delegate_nativeCreate(JNIEnv* env, jobject,
                                                                        jobjectArray keys,
                                                                        jobjectArray values) {
  const std::vector<std::string> names = Strings(env, keys), settings = Strings(env, values);
  error_message.clear();
  TfLiteDelegate* delegate = tflite_plugin_create_delegate(
      Pointers(names).data(), Pointers(settings).data(), names.size(), KeepError);
  if (delegate == nullptr) {
    env->ThrowNew(env->FindClass("java/lang/IllegalArgumentException"), error_message.c_str());
  }
  return reinterpret_cast<jlong>(delegate);
}

JNIEXPORT void JNICALL Java_tfpruneofa_SparseInt8Delegate_nativeDestroy(JNIEnv*, jobject,
                                                                        jlong handle) {
  tflite_plugin_destroy_delegate(FromHandle(handle));
}

JNIEXPORT jstring JNICALL Java_tfpruneofa_SparseInt8Delegate_nativeReport(JNIEnv* env, jobject,
                                                                          jlong handle) {
  return env->NewStringUTF(tf_prune_ofa_report(FromHandle(handle)));
}

}  // extern "C"
